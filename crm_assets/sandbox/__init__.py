"""A CRM on loopback, with made-up records, for trying the project out and for its tests.

`server.Sandbox` is the CRM inside this process, `process.sandbox_process` the one in a child process.
"""
