package billing

import (
	"slices"

	"apportion/billing/registry"
	"apportion/schemas"
)

// Agents are persons. What is told to those who may not see who they are leaves their ids out, and says all the rest.

// WithoutAgents returns findings that name no agent.
func WithoutAgents(findings []Finding) []Finding {
	findings = slices.Clone(findings)
	for n := range findings {
		if findings[n].Code == schemas.SamePerson { // the others name events
			findings[n].Names = []string{}
		}
	}
	return findings
}

// LeaveOutAgents leaves out who was live, in what the line corrects as well.
func (e *Explanation) LeaveOutAgents() {
	for _, i := range []*Instant{e.Instant, e.peakThen(), e.peakNow()} {
		if i != nil {
			i.Sessions.leaveOutAgents()
		}
	}
	if e.DistinctAgents != nil {
		e.DistinctAgents.Sessions.leaveOutAgents()
	}
	if e.Adjustment != nil {
		leaveOutAgents(e.Adjustment.Events, e.Adjustment.Commands)
	}
}

func (e *Explanation) peakThen() *Instant {
	if e.Adjustment == nil {
		return nil
	}
	return e.Adjustment.PeakThen
}

func (e *Explanation) peakNow() *Instant {
	if e.Adjustment == nil {
		return nil
	}
	return e.Adjustment.PeakNow
}

// LeaveOutAgents leaves out of the causes whose sessions came or were corrected, and whose licences changed.
func (c *Comparison) LeaveOutAgents() {
	for _, change := range c.Changes {
		if change.Causes != nil {
			leaveOutAgents(change.Causes.Events, change.Causes.Commands)
		}
	}
}

func leaveOutAgents(events []ChangedEvent, commands []registry.Change) {
	for n := range events {
		events[n].Then.Winner.Agent, events[n].Now.Winner.Agent = "", ""
	}
	for n := range commands {
		commands[n].Changes = registry.WithoutUsers(commands[n].Changes)
	}
}

func (all Evidence) leaveOutAgents() {
	for n := range all {
		all[n].Winner.Agent = ""
	}
}
