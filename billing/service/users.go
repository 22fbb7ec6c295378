package service

import (
	"context"
	"fmt"
	"slices"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// MapUsers asks for many users to be mapped to one subscription (R7).
type MapUsers struct {
	// Command is the set_licences of which each has a part of the users: it has the subscription, the date from which it
	// applies, and the id of the first.
	Command registry.Command
	// Users are those to map or, where LosingOn is not NoDate, all who lose access on that date.
	Users    []string
	LosingOn civil.Date
}

// MapUsers returns the plan that maps the users: a command for every 1,000 of them in byte order, all or none. The ids
// of the commands follow from that of the first, and who loses access is asked of the registry as it stood before that:
// so the same given again, also after a crash between them, is the same commands.
func (r *Registry) MapUsers(ctx context.Context, ask MapUsers) (Plan, error) {
	state, err := r.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	users := slices.Clone(ask.Users)
	if ask.LosingOn != civil.NoDate {
		if offset, given := state.DecidedAt(ask.Command.TenantID, ask.Command.Source, ask.Command.ID); given {
			if state, err = r.At(offset); err != nil {
				return nil, err
			}
		}
		if t := state.Tenant(ask.Command.TenantID); t != nil {
			for _, l := range t.LosingAccess(ask.LosingOn) {
				users = append(users, l.User)
			}
		}
	}
	slices.Sort(users)
	commands := parts(ask.Command, slices.Compact(users))
	return func(state registry.State) []*Outcome {
		var outcomes, refused []*Outcome
		for _, c := range commands {
			var o *Outcome
			if state, o = DryRun(state, c); !o.Accepted {
				refused = append(refused, o)
			}
			outcomes = append(outcomes, o)
		}
		if len(refused) > 0 {
			return refused
		}
		return outcomes
	}, nil
}

// parts returns the commands that say of users what one says, each of as many as a command may name.
func parts(c registry.Command, users []string) (commands []registry.Command) {
	for part := range slices.Chunk(users, registry.MostNames) {
		next, mappings := c, *c.Mappings
		mappings.Names = part
		next.Mappings = &mappings
		if n := len(commands) + 1; n > 1 {
			next.ID = fmt.Sprintf("%s/%d", c.ID, n)
		}
		commands = append(commands, next)
	}
	return commands
}
