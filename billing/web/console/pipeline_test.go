package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What waits, is late, or could not be done is said in words, in the picture and in the tables.
func TestPipelineStates(t *testing.T) {
	const at = `{"at":"2026-11-03T10:00:00.000Z","partitions":[{"topic":"usage.agent.v1","partition":0,"next":40,"end":52,"lag":12,"retained":-3}],` +
		`"lag":12,"takenIn":40,"dirtyDays":2,"registry":{"lastOffset":9,"recordedOffset":7},`
	for _, c := range []struct {
		name, state   string
		says, without []string
	}{
		{"late", at + `"freshness":{"ageMs":180000,"waitingMs":180000,"figuresMs":0}}`,
			[]string{`<span class="tag bad">late</span>`, "is 3 minutes old. It waits on Kafka: see whether ingest runs.", "12 waiting", "oldest 3 minutes",
				"2 dirty days", "to 9, recorded to 7", "no pass yet", "no schedule", `<tr class="bad">`, "by hand"}, []string{"current</span>", "catching up"}},
		{"late figures", at + `"freshness":{"ageMs":61000,"waitingMs":0,"figuresMs":61000}}`,
			[]string{"It is taken in: see whether aggregation runs."}, []string{"waits on Kafka"}},
		{"behind", at + `"freshness":{"ageMs":5000,"waitingMs":0,"figuresMs":5000},"pass":{"registryOffset":9,"tzVersion":"2025c",` +
			`"finishedAt":"2026-11-03T09:59:58.000Z","behind":[{"tenantId":"acme","reason":"its zone is gone"}]},` +
			`"schedule":{"from":"2026-10","next":"2026-11-03T10:07:00.000Z","last":{"at":"2026-11-02T23:07:01.000Z","failed":false,"issued":3,"stopped":{"missing_price":1}}}}`,
			[]string{"catching up", "acme</bdi></a>: its zone is gone", "09:59 UTC", "10:07 UTC", "3 issued", "fired 11-02 23:07 UTC",
				"1 stopped: <a class=\"code\" href=\"/docs/reference/codes#missing_price\">"}, []string{"late</span>"}},
		{"failed", at + `"freshness":{"ageMs":0,"waitingMs":0,"figuresMs":0},"schedule":{"from":"2026-10","next":"2026-11-03T10:07:00.000Z",` +
			`"last":{"at":"2026-11-03T09:07:01.000Z","failed":true,"issued":0,"stopped":{}}}}`,
			[]string{"current</span> The daily figures show every change.", `class="warn">failed</text>`, "it is repeated"}, []string{"issued</text>"}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			w := httptest.NewRecorder()
			problemConsole(200, c.state, "eva", true).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/pipeline", nil))
			body := w.Body.String()
			if w.Code != http.StatusOK {
				t.Fatalf("%d\n%s", w.Code, body)
			}
			for _, text := range c.says {
				if !strings.Contains(body, text) {
					t.Errorf("it lacks %q:\n%s", text, body)
				}
			}
			for _, text := range c.without {
				if strings.Contains(body, text) {
					t.Errorf("it has %q", text)
				}
			}
		})
	}
}
