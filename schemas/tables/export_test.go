package tables

// What tests bring files of SQL of their own to.
var (
	MigrateFiles = migrate
	PlanFiles    = newPlan
	Migrations   = migrations
)
