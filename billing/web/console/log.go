package console

import "strings"

func (c *Console) logScreens() []screen {
	return []screen{
		{path: "/log", needs: "listCommands", show: c.log},
		{path: "/log/{offset}", needs: "getCommand", show: c.command},
		{path: "/tenants/{tenant}/log", needs: "listCommands", show: c.tenantLog},
	}
}

// command is one of the registry's log, with what became of it.
type command struct {
	Offset    int64  `json:"offset"`
	ArrivedAt string `json:"arrivedAt"`
	By        struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"by"`
	Command  string         `json:"command"`
	Changes  changes        `json:"changes"`
	Tenant   string         `json:"tenantId"`
	ID       string         `json:"commandId"`
	Source   string         `json:"source"`
	Reason   string         `json:"reason"`
	Accepted bool           `json:"accepted"`
	Refusals []fieldProblem `json:"refusals"`
	Repeats  *int64         `json:"repeats"`
}

// changes are what a command changed, a line each that begins with +, - or ~.
type changes []string

// changeLine is one of them, with what its sign says in words.
type changeLine struct{ Sign, Word, Text string }

// Lines are the changes, at most so many.
func (c changes) Lines(most int) (lines []changeLine) {
	for _, text := range c[:min(most, len(c))] {
		sign, rest, _ := strings.Cut(text, " ")
		words := map[string]string{"+": "added", "-": "taken away", "~": "changed"}
		if words[sign] == "" {
			sign, rest = "", text
		}
		lines = append(lines, changeLine{sign, words[sign], rest})
	}
	return lines
}

// More is how many changes there are besides.
func (c changes) More(most int) int { return max(0, len(c)-most) }

// commandKinds are what commands are called, for the filter to suggest.
var commandKinds = []string{"put_tenant", "set_licences", "set_entry_points", "change_telephony", "hold_period",
	"release_period", "claim_issue", "accept_hole", "seal_periods", "remove_deliveries"}

// log is the registry's log, the last command first.
func (c *Console) log(p *page) error {
	if err := p.ofLog(p.Query("tenant")); err != nil {
		return err
	}
	return p.show("log", "Log", p.Data)
}

// tenantLog is what was changed of one tenant.
func (c *Console) tenantLog(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	if err := p.ofLog(p.Tenant.ID); err != nil {
		return err
	}
	return p.show("log", "Log", p.Data)
}

func (p *page) ofLog(tenant string) error {
	var data struct {
		Items []command `json:"items"`
		Next  string    `json:"next"`
		Kinds []string  `json:"-"`
	}
	err := p.get(&data, "/commands", "tenant", tenant, "actor", p.Query("actor"), "command", p.Query("command"),
		"accepted", p.Query("accepted"), "after", p.Query("after"))
	data.Kinds = commandKinds
	p.Data = data
	return err
}

// command shows one command.
func (c *Console) command(p *page) error {
	var one command
	if err := p.get(&one, route("commands", p.r.PathValue("offset"))); err != nil {
		return err
	}
	p.Trail = []link{{"Log", "/log"}}
	if one.Tenant != "" {
		p.Trail = append(p.Trail, link{one.Tenant, route("tenants", one.Tenant, "log")})
	}
	return p.show("command", "Command at offset "+formatInt(one.Offset), &one)
}
