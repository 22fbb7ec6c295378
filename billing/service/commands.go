package service

import (
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// LoggedCommand is a command of the log, and what became of it.
type LoggedCommand struct {
	registry.Change
	Tenant   string             `json:"tenantId,omitempty"` // none of a command of no tenant
	ID       string             `json:"commandId,omitempty"`
	Source   string             `json:"source,omitempty"`
	Reason   string             `json:"reason,omitempty"`
	Accepted bool               `json:"accepted"`
	Refusals []registry.Refusal `json:"refusals"`
	// Repeats is the offset of the command that it is another delivery of.
	Repeats *int64 `json:"repeats,omitempty"`
}

// NewLoggedCommand returns a command of the log as it is written.
func NewLoggedCommand(l registry.Logged) LoggedCommand {
	c, v := l.Command, l.Verdict()
	logged := LoggedCommand{
		Change: registry.Change{Offset: l.Offset, ArrivedAt: civil.FormatMillis(l.ArrivedMS), By: c.By, Command: c.Command,
			Changes: l.Changes()},
		Tenant: c.TenantID, ID: c.ID, Source: c.Source, Reason: c.Reason, Accepted: v.Accepted,
		Refusals: append([]registry.Refusal{}, v.Refusals...),
	}
	if v.Offset != l.Offset {
		logged.Repeats = &v.Offset
	}
	return logged
}
