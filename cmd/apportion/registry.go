package main

import (
	"context"
	"encoding/json"
	"time"

	"apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"

	"github.com/spf13/cobra"
)

func newRegistryCommand(a *app) *cobra.Command {
	return group("registry", "Change and show tenants, subscriptions and licences (R1-R7)",
		`The registry says who the tenants are: their subscriptions with commitments and prices,
their users' licences and their entry points. A document says how tenants should stand;
"registry apply" gives the commands that get there, on the topic registry.commands.v1, and
each command is accepted or refused whole.`,
		`  apportion registry check -f tenants.yaml
  apportion registry apply -f tenants.yaml --dry-run
  apportion registry show acme`,
		newRegistryApplyCommand(a),
		newRegistryCheckCommand(a),
		newRegistryShowCommand(a),
		newRegistryLosingAccessCommand(a),
		newRegistryChangeTelephonyCommand(a),
		newRegistryRebuildCommand(a),
		newRegistryRestoreCommand(a),
	)
}

// registryFold follows the command topic: what it amounts to, and what became of each command.
type registryFold struct {
	state  registry.State
	next   int64 // the offset to read on from
	judged []clickhouse.Judged
	states []registry.State // after each of the judged
}

// apply takes one record of the topic.
func (f *registryFold) apply(offset, arrivedMS int64, value []byte) error {
	var j clickhouse.Judged
	f.state, j = clickhouse.Judge(f.state, offset, arrivedMS, value)
	f.judged, f.states = append(f.judged, j), append(f.states, f.state)
	return nil
}

// changed is the month in which the last command came, by Kafka's clock in UTC.
func (f *registryFold) changed() civil.Month {
	if len(f.judged) == 0 {
		return 0
	}
	return civil.DateOfTime(time.UnixMilli(f.judged[len(f.judged)-1].ArrivedMS).UTC()).Month()
}

// catchUp takes what the topic has by now.
func (f *registryFold) catchUp(ctx context.Context, a *app) error {
	client, err := a.kafka()
	if err != nil {
		return err
	}
	if err := a.sameRegistry(ctx); err != nil {
		return err
	}
	f.next, err = client.ReadLog(ctx, a.topic(schemas.TopicRegistry), f.next, f.apply)
	return err
}

// followRegistry catches up and then goes on with what is added to the topic, until ctx is done. Each is called
// once it has caught up, and after every record from then on.
func (a *app) followRegistry(ctx context.Context, f *registryFold, each func() error) error {
	if err := f.catchUp(ctx, a); err != nil {
		return err
	}
	if err := each(); err != nil {
		return err
	}
	client, err := a.kafka()
	if err != nil {
		return err
	}
	_, err = client.TailLog(ctx, a.topic(schemas.TopicRegistry), f.next, func(offset, arrivedMS int64, value []byte) error {
		if err := f.apply(offset, arrivedMS, value); err != nil {
			return err
		}
		return each()
	})
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// keepRegistryLog writes verdicts to registry_log as the commands come, until ctx is done. Commands that came
// while nobody wrote them are among those.
func (a *app) keepRegistryLog(ctx context.Context) error {
	var f registryFold
	return a.followRegistry(ctx, &f, func() error {
		err := recordVerdicts(ctx, a.registryLog(a.conn), f.judged)
		f.judged, f.states = nil, nil
		return err
	})
}

// loadRegistry returns what the command topic amounts to by now.
func (a *app) loadRegistry(ctx context.Context) (registry.State, error) {
	var f registryFold
	err := f.catchUp(ctx, a)
	return f.state, err
}

// outcome is what became of one command, or would.
type outcome struct {
	Tenant   string             `json:"tenant"`
	Command  string             `json:"command"`
	Accepted bool               `json:"accepted"`
	Offset   *int64             `json:"offset,omitempty"`  // on the command topic, once it is there
	Changes  []string           `json:"changes,omitempty"` // a line each, for people
	Refusals []registry.Refusal `json:"refusals,omitempty"`
	Event    *registry.Command  `json:"event,omitempty"` // the command itself, on a dry run

	command  registry.Command
	warnings []registry.Warning // of what it changes
}

// rehearse finds out what would become of a command in a state. Those that would be refused are not given at all:
// a verdict is for good, and the same command may be all right once something else has been put in order.
func rehearse(state registry.State, c registry.Command) (registry.State, *outcome) {
	next, verdict := state.Apply(state.Offset()+1, c)
	o := &outcome{Tenant: c.TenantID, Command: c.Command, Accepted: verdict.Accepted, Refusals: verdict.Refusals, command: c}
	if tenant := next.Tenant(c.TenantID); o.Accepted && tenant != nil {
		o.Changes = registry.Describe(state.Tenant(c.TenantID), tenant)
		o.warnings = registry.ChangeWarnings(state.Tenant(c.TenantID), tenant)
	}
	return next, o
}

// giveCommands gives the commands that a plan makes of what stands, those that it does not refuse itself, and
// waits for their verdicts, which go to registry_log.
func (a *app) giveCommands(ctx context.Context, plan func(state registry.State, timeMS int64) []*outcome) ([]*outcome, error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return nil, err
	}
	var f registryFold
	if err := f.catchUp(ctx, a); err != nil {
		return nil, err
	}
	given := make(map[int64]*outcome) // by offset
	outcomes := plan(f.state, time.Now().UnixMilli())
	for _, o := range outcomes {
		if !o.Accepted {
			continue
		}
		o.command.By = person()
		payload, err := json.Marshal(o.command)
		if err != nil {
			return nil, err
		}
		offset, err := client.AppendLog(ctx, a.topic(schemas.TopicRegistry), kafka.LogRecord{Key: o.Tenant, Value: payload})
		if err != nil {
			return nil, err
		}
		o.Offset = &offset
		given[offset] = o
	}
	if err := f.catchUp(ctx, a); err != nil {
		return nil, err
	}
	for _, j := range f.judged {
		// Somebody else's command may have come in between, so the verdict need not be that of the rehearsal.
		if o := given[j.Offset]; o != nil {
			o.Accepted, o.Refusals = j.Verdict.Accepted, j.Verdict.Refusals
		}
	}
	return outcomes, recordVerdicts(ctx, a.registryLog(conn), f.judged)
}

// recordVerdicts writes those of the commands to registry_log that it does not have yet.
func recordVerdicts(ctx context.Context, log *clickhouse.RegistryLog, judged []clickhouse.Judged) error {
	last, err := log.LastOffset(ctx)
	if err != nil {
		return err
	}
	for i, j := range judged {
		if j.Offset > last {
			return log.Append(ctx, judged[i:])
		}
	}
	return nil
}
