package access

// The roles that rows of the table below share.
var (
	everybody = Roles
	readers   = []Role{Operator, Finance, Analyst, Tenant}
	staff     = []Role{Operator, Finance, Analyst}
	admins    = []Role{Operator, Tenant}
	auditors  = []Role{Finance, Analyst, Tenant}
	upstream  = []Role{Operator, Publisher}
)

// operations is who may ask for what, by the operation's id in the OpenAPI document. It is the only place that says so.
var operations = map[string][]Role{
	"getMe": everybody,

	"listTenants":       readers,
	"getTenant":         readers,
	"putTenant":         {Operator},
	"changeTelephony":   {Operator},
	"getTimeline":       readers,
	"listUsers":         admins,
	"getUser":           admins,
	"putUserLicences":   admins,
	"mapLicences":       admins,
	"putEntryPoint":     admins,
	"listAccess":        admins,
	"listUsage":         readers,
	"getConcurrency":    readers,
	"getLive":           readers,
	"listTenantPeriods": readers,
	"listPeriods":       readers,
	"listMonths":        readers,
	"getDraft":          readers,
	"getOverage":        readers,
	"getDiff":           {Finance, Analyst},
	"postWhatIf":        readers,
	"getAdvice":         readers,
	"issuePeriod":       {Operator, Finance},
	"holdPeriod":        {Finance},
	"releasePeriod":     {Finance},
	"getBalance":        readers,
	"listFiles":         {Finance, Analyst},
	"getFile":           {Finance, Analyst},
	"listInvoices":      auditors,
	"getInvoice":        auditors,
	"getProvenance":     auditors,
	"getExplanation":    auditors,
	"verifyLine":        auditors,
	"getEvidence":       {Finance, Analyst},
	"listDeliveries":    {Operator, Analyst, Publisher},
	"listRejected":      upstream,
	"countRejected":     upstream,
	"getRejected":       upstream,
	"replayRejected":    upstream,
	"postEvents":        {Publisher},
	"checkEvents":       upstream,
	"listCommands":      readers,
	"getCommand":        readers,
	"listFindings":      readers,
	"getPipeline":       staff,
}

// Operations returns the ids of all operations, with who may ask for each.
func Operations() map[string][]Role { return operations }
