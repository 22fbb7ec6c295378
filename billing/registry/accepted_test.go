package registry

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func accepting(id, topic string, partition int32, first, last int64) Command {
	return Command{ID: id, Source: "ops", Command: AcceptHole, Hole: Hole{topic, partition, first, last}, Reason: "retention"}
}

func TestR22_AHoleIsAcceptedOnceAndIsOfNoTenant(t *testing.T) {
	s := standingState(t, acme)
	s, verdicts := fold(t, s, accepting("h1", "usage.b", 3, 100, 199), accepting("h2", "usage.a", 0, 0, 0),
		accepting("h3", "usage.b", 3, 100, 199), accepting("h4", "usage.b", 3, 100, 250), accepting("h5", "usage.b", 2, 9, 8), accepting("h1", "usage.b", 3, 100, 199))
	for i, want := range []string{"", "", "already_accepted data.first", "", "invalid_field data.last", ""} {
		if got := codes(verdicts[i].Refusals); got != want || verdicts[i].Tenant != "" {
			t.Errorf("%d: %q of tenant %q, want %q of none", i, got, verdicts[i].Tenant, want)
		}
	}
	want := []AcceptedHole{{Hole{"usage.a", 0, 0, 0}, "retention", 2}, {Hole{"usage.b", 3, 100, 199}, "retention", 1}, {Hole{"usage.b", 3, 100, 250}, "retention", 4}}
	if got := s.AcceptedHoles(); !reflect.DeepEqual(got, want) {
		t.Errorf("accepted %v, want %v", got, want)
	}
	if s.Base("acme") != 0 || len(s.Tenants()) != 1 {
		t.Errorf("base %d, %d tenants; want 0 and 1", s.Base("acme"), len(s.Tenants()))
	}
	good := string(asJSON(t, accepting("h9", "usage.a", 1, 5, 7)))
	if strings.Contains(good, "tenantid") || !strings.Contains(good, `"first":5`) {
		t.Errorf("written: %s", good)
	}
	for _, c := range [][3]string{
		{`"partition":1`, `"partition":-1`, "malformed_command data.partition"}, {`"first":5`, `"first":"5"`, "malformed_command data.first"},
		{`"type":`, `"tenantid":"acme","type":`, "malformed_command tenantid"},
		{`"reason":"retention"`, `"reason":" "`, "missing_field data.reason"}, {`"topic":"usage.a",`, ``, "missing_field data.topic"},
	} {
		if _, verdict := s.Apply(9, DecodeCommand([]byte(strings.Replace(good, c[0], c[1], 1)))); codes(verdict.Refusals) != c[2] {
			t.Errorf("%s: %v, want %s", c[1], verdict.Refusals, c[2])
		}
	}
}

// TestStatesNeverChange folds random commands and looks at every state again at the end, against plain maps.
func TestStatesNeverChange(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	rapid.Check(t, func(t *rapid.T) {
		show := func(s State) string {
			shown, err := json.Marshal([]any{s.Offset(), s.Tenants(), s.Holds(), s.AcceptedHoles()})
			if err != nil {
				t.Fatal(err)
			}
			return string(shown)
		}
		owners := map[string]string{}
		var states []State
		var seen []string
		var s State
		for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
			id := rapid.SampledFrom(names).Draw(t, "tenant")
			tenant := Tenant{ID: id, Name: fmt.Sprint(i), TimeZone: "UTC", Telephony: "vpop"}
			if stood := s.Tenant(id); stood != nil {
				tenant.Subscriptions = stood.Subscriptions
			}
			name := rapid.SampledFrom(names).Draw(t, "subscription")
			if tenant.Subscription(name) == nil {
				tenant.Subscriptions = append(tenant.Subscriptions[:len(tenant.Subscriptions):len(tenant.Subscriptions)], sub(name, "2024-01-01/2027-01-01"))
			}
			want := owners[name] == "" || owners[name] == id
			var verdict Verdict
			s, verdict = s.Apply(int64(i), Command{ID: fmt.Sprint(i), Source: "s", TenantID: id, Command: PutTenant, Base: s.Base(id), Tenant: &tenant})
			if verdict.Accepted != want {
				t.Fatalf("%s takes %s of %q: %+v", id, name, owners[name], verdict)
			}
			if want {
				owners[name] = id
			}
			states, seen = append(states, s), append(seen, show(s))
		}
		for i, s := range states {
			if show(s) != seen[i] {
				t.Fatalf("state %d changed: %s, was %s", i, show(s), seen[i])
			}
		}
	})
}
