"""Who hears of what is wrong: incidents, what is said of them, and how it reaches people. Knows no Dagster."""
