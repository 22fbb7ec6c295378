package schemas

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// Of several misspelt members the first of the known ones is named, then the
// smallest in byte order.
func TestMisspelt(t *testing.T) {
	for _, c := range []struct {
		kind        Type
		data        string
		field, sent string // "" for a delivery that is accepted
	}{
		{AgentSession, `"endTme":0,"zubscriptionId":0`, "subscriptionId", "zubscriptionId"},
		{AgentSession, `"endtime":0,"EndTime":0,"end-time":0`, "endTime", "EndTime"},
		{AgentSession, `"\u0065ndtime":0`, "endTime", "endtime"},
		{AgentSession, `"endTime":null,"End_Time":0`, "endTime", "End_Time"},
		{AgentSession, `"End_Time":null`, "", ""},
		{AgentSession, `"endTime":100000000000,"End_Time":0,"revison":0,"revision":0`, "", ""},
		{AgentSession, `"licenseClass":"premium","nedTime":0`, "endTime", "nedTime"},
		{AgentSession, `"revisions":1`, "revision", "revisions"},
		{AgentSession, `"voided_":false`, "voided", "voided_"},
		{AgentSession, `"licence":0,"endTimexx":0,"end":0,"eTime":0,"edTimen":0,"chanel":0`, "", ""},
		{AgentSession, `"end\u00e9Time":0`, "endTime", "endéTime"},
		{IVRSession, `"licenseClass":0`, "", ""},
		{ConnectUsage, `"EndTime":0,"agentID":0`, "", ""},
		{ConnectUsage, `"VOIDED":0`, "voided", "VOIDED"},
		{AgentSession, `"voided":true,"agent_ID":0`, "", ""},
	} {
		t.Run(c.data, func(t *testing.T) {
			own := map[Type]string{
				AgentSession: `"agentId":"a","startTime":100000000000`, IVRSession: `"entryPointId":"e","startTime":100000000000`,
				ConnectUsage: `"channel":"sms","quantity":1`,
			}[c.kind]
			value := fmt.Sprintf(`{"specversion":"1.0","id":"i","source":"/s","type":%q,"time":"2026-10-14T16:02:11Z","tenantid":"acme","data":{%s,%s}}`,
				c.kind, own, c.data)
			var d Decoder
			r := d.Decode(c.kind, nil, []byte(value), new(Event))
			switch {
			case r == nil && c.field == "":
			case r == nil || r.Code != MisspeltField || r.Field != c.field || r.Value != `"`+c.sent+`"` ||
				!strings.Contains(r.Message, "spell it "+c.field):
				t.Errorf("got %v, want %s for %s", r, c.sent, c.field)
			}
		})
	}
}

// A void needs no member of data, and is refused for one that is misspelt.
func TestMisspeltInVoid(t *testing.T) {
	var d Decoder
	value := `{"specversion":"1.0","id":"i","source":"/s","type":"agent.session","time":"2026-10-14T16:02:11Z","tenantid":"acme",` +
		`"data":{"voided":true,"agent_ID":"a"}}`
	if r := d.Decode(AgentSession, nil, []byte(value), new(Event)); r == nil || r.Code != MisspeltField ||
		r.Field != "agentId" {
		t.Errorf("got %v", r)
	}
}

// isMisspelt agrees with every edit tried in turn.
func TestIsMisspelt(t *testing.T) {
	alphabet := []rune("aeimt\u00e9\u0130")
	const plain = "endtime"
	edits := func(word []rune) (all [][]rune) {
		all = append(all, word)
		for i := range len(word) + 1 {
			for _, r := range alphabet {
				all = append(all, append(append(append([]rune{}, word[:i]...), r), word[i:]...))
				if i < len(word) {
					all = append(all, append(append(append([]rune{}, word[:i]...), r), word[i+1:]...))
				}
			}
			if i < len(word) {
				all = append(all, append(append([]rune{}, word[:i]...), word[i+1:]...))
			}
			if i+1 < len(word) {
				all = append(all, append(append(append([]rune{}, word[:i]...), word[i+1], word[i]), word[i+2:]...))
			}
		}
		return all
	}
	near := map[string]bool{}
	once := edits([]rune(plain))
	for _, word := range once {
		near[string(word)] = true
	}
	yes, no := 0, 0
	for _, one := range once {
		for _, word := range edits(one) {
			plainly := strings.Map(unicode.ToLower, string(word))
			if got := isMisspelt([]byte(string(word)), plain); got != near[plainly] {
				t.Fatalf("%s: %v", string(word), got)
			} else if got {
				yes++
			} else {
				no++
			}
		}
	}
	if yes == 0 || no == 0 {
		t.Errorf("%d near, %d not", yes, no)
	}
	for name, want := range map[string]bool{"End-Time_": true, "e-n-d_t_i_m_e-s": true, "ENDTIMESS": false, "": false,
		"_": false} {
		if isMisspelt([]byte(name), plain) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
