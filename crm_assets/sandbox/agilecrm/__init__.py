"""The API `agilecrm` over the sandbox's records: its requests, its bare arrays, its habits.

`api.AgileCrm` answers; `relations.Relations` knows below which contacts, deals and ticket filters a record is found.
"""
