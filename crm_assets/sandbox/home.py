"""The page at `/`: what this is, what it holds, how to log in, which faults are on."""

from html import escape
from string import Template
from typing import Final

from crm_assets.sandbox.listings import LISTINGS
from crm_assets.sandbox.state import State

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sandbox CRM</title>
<style>
:root { color-scheme: light dark; --line: #d8dee6; --soft: #f3f5f8; --dim: #586474; --mark: #0b62b8; --bad: #a4300c }
@media (prefers-color-scheme: dark) {
  :root { --line: #38414d; --soft: #20262e; --dim: #9eacbc; --mark: #74b8ff; --bad: #ff9a75 }
  body { background: #15191e; color: #e7ecf2 }
}
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 2rem 1rem 4rem }
h1 { font-size: 1.7rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem }
p { margin: .4rem 0 } .dim { color: var(--dim) }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600; color: var(--dim); font-size: .85rem }
.n { text-align: right; font-variant-numeric: tabular-nums }
code, pre { font: .9em ui-monospace, monospace } code { color: var(--mark); overflow-wrap: anywhere }
pre { background: var(--soft); padding: .8rem 1rem; border-radius: .5rem; margin: .6rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere }
ul { padding-left: 1.2rem } .bad code { color: var(--bad) }
</style>
</head>
<body>
<h1>Sandbox CRM</h1>
<p class="dim">Made-up records, served on this machine only, for trying out <code>crm_assets</code>. Nobody in here
exists, and nothing outlives the process.</p>
<h2>Records</h2>
<table>
<thead><tr><th>Resource</th><th>Requests</th><th class="n">Records</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
<h2>Login</h2>
<p>HTTP Basic. $login</p>
<pre>$examples</pre>
<h2>Faults</h2>
$faults
<pre>curl -d '{"resource": "tickets", "kind": "status", "status": 503, "times": 2}' $base_url/sandbox/faults
curl -X DELETE $base_url/sandbox/faults</pre>
<h2>Changes</h2>
<pre>curl -X POST $base_url/sandbox/contacts
curl -X PATCH -d '{"name": "Renamed"}' $base_url/sandbox/deals/5
curl -X DELETE $base_url/sandbox/deals/981</pre>
</body>
</html>
""")


def home_page(state: State, base_url: str) -> str:
    """Return the page as HTML. A login of the user's own is not told."""
    told, user = "The e-mail and API key that it was started with.", "EMAIL:API_KEY"
    if state.login_is_public:
        told = f"E-mail <code>{escape(state.email)}</code>, API key <code>{escape(state.api_key)}</code>."
        user = f"{state.email}:{state.api_key}"
    items = "".join(f"<li><code>{escape(str(fault))}</code></li>" for fault in state.faults.on())
    return _PAGE.substitute(
        rows="\n".join(_row(state, resource) for resource in LISTINGS),
        login=told,
        examples=escape("\n".join(api.example(f"curl -u '{user}'", base_url) for api in state.apis), quote=False),
        faults=f'<ul class="bad">{items}</ul>' if items else "<p>None is on: every answer is a good one.</p>",
        base_url=escape(base_url),
    )


def _row(state: State, resource: str) -> str:
    requests = [request for api in state.apis for request in api.endpoints().get(resource, ())]
    listed = "<br>".join(f"<code>{escape(request)}</code>" for request in requests)
    count = state.crm.count(resource)
    return f'<tr><td>{escape(resource)}</td><td>{listed}</td><td class="n">{count:,}</td></tr>'
