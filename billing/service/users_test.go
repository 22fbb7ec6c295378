package service_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

// TestMapUsers: everybody who loses access on a date is mapped by as few commands as there can be, and the same asked
// again, whatever has been given of it, is the same commands.
func TestMapUsers(t *testing.T) {
	const users = 2*registry.MostNames + 300
	doc, problems := registry.Parse("", []byte(document))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	acme := &doc.Tenants[0]
	second := acme.Subscriptions[0]
	second.ID, second.Terms = "Sub2", []registry.Term{{From: civil.NewDate(2025, 1, 1), To: civil.NewDate(2031, 1, 1)}}
	acme.Subscriptions = append(acme.Subscriptions, second)
	ends := civil.NewDate(2029, 1, 1)
	for i := range users {
		acme.Licences = append(acme.Licences, registry.Licence{User: fmt.Sprint("u", i), Role: registry.Agent, Class: registry.Premium,
			Subscription: "Sub1", From: civil.NewDate(2024, 1, 1), To: civil.NoDate})
	}
	acme.Licences = append(acme.Licences, registry.Licence{User: "keeps", Role: registry.Agent, Class: registry.Standard,
		Subscription: "Sub2", From: civil.NewDate(2025, 1, 1), To: civil.NoDate})
	ask := service.MapUsers{LosingOn: ends, Command: registry.Command{ID: "k", Source: "apportion/api", TenantID: "acme",
		Command: registry.SetLicences, Mappings: &registry.SetMappings{From: ends,
			Subscriptions: []registry.Mapped{{Subscription: "Sub2", To: civil.NoDate}}}}}
	give := func(r *service.Registry, ask service.MapUsers) []*service.Outcome {
		t.Helper()
		plan, err := r.MapUsers(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := r.Give(t.Context(), registry.Actor{}, plan)
		if err != nil {
			t.Fatal(err)
		}
		return outcomes
	}
	log := &raceLog{}
	r := service.NewRegistry(log, &kept{}, time.Now)
	if _, err := r.Apply(t.Context(), registry.Actor{}, doc); err != nil {
		t.Fatal(err)
	}
	outcomes := give(r, ask)
	if len(outcomes) != 3 || len(outcomes[0].Changes) != registry.MostNames || len(outcomes[2].Changes) != 300 {
		t.Fatalf("%d commands, %d changes by the first", len(outcomes), len(outcomes[0].Changes))
	}
	state, err := r.CatchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if lost := state.Tenant("acme").LosingAccess(ends); len(lost) > 0 {
		t.Errorf("%d users lose access", len(lost))
	}
	if l := state.Tenant("acme").MappingsOf("u7"); len(l) != 2 || l[1].Subscription != "Sub2" || l[1].From != ends || l[1].Class != registry.Premium {
		t.Errorf("u7 is mapped so: %v", l)
	}
	if l := state.Tenant("acme").MappingsOf("keeps"); len(l) != 1 {
		t.Errorf("who keeps access is mapped so: %v", l)
	}

	// Again nothing is given; nor is anything twice where somebody was killed after the first command.
	all := slices.Clone(log.values)
	if again := give(r, ask); len(log.values) != len(all) || len(again) != 3 || *again[2].Offset != 3 || !again[2].Accepted {
		t.Errorf("given again: %d commands more", len(log.values)-len(all))
	}
	killed := &raceLog{memoryLog: memoryLog{values: slices.Clone(all[:2])}}
	if give(service.NewRegistry(killed, &kept{}, time.Now), ask); len(killed.values) != len(all) {
		t.Fatalf("%d commands, want %d", len(killed.values), len(all))
	}
	for i := range all {
		var got, want struct{ Data, ID any }
		if json.Unmarshal(killed.values[i], &got) != nil || json.Unmarshal(all[i], &want) != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("command %d is another one when it is given again", i)
		}
	}

	// One that would be refused keeps all of them from being given.
	unknown := ask
	unknown.Command.ID, unknown.LosingOn = "k2", civil.NoDate
	for i := range registry.MostNames + 1 {
		unknown.Users = append(unknown.Users, fmt.Sprint("u", i))
	}
	unknown.Users = append(unknown.Users, "zoe")
	if refused := give(r, unknown); len(refused) != 1 || refused[0].Accepted || refused[0].Refusals[0].Field != "data.role" || len(log.values) != len(all) {
		t.Errorf("%+v, %d commands", refused[0], len(log.values))
	}
}
