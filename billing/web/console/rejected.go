package console

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"

	"apportion/schemas"
)

func (c *Console) rejectedScreens() []screen {
	return []screen{
		{path: "/rejected", needs: "listRejected", show: c.rejected, send: c.replayChosen},
		{path: "/rejected/{topic}/{partition}/{offset}", needs: "getRejected", show: c.letter, send: c.replayOne},
	}
}

// record is where a delivery is on Kafka.
type record struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// String names a record as the program does.
func (r record) String() string {
	return r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "/" + formatInt(r.Offset)
}

// refused is a refused delivery as GET /rejected has it.
type refused struct {
	record
	Time    string       `json:"time"`
	Tenant  string       `json:"tenantId"`
	Source  string       `json:"source"`
	ID      string       `json:"id"`
	Code    schemas.Code `json:"code"`
	Field   string       `json:"field"`
	Value   string       `json:"value"`
	Message string       `json:"message"`
}

// letter is a refused delivery whole.
type letter struct {
	refused
	Advice   string     `json:"advice"`
	Open     bool       `json:"open"`
	Accepted []accepted `json:"accepted"`
	Key      blob       `json:"key"`
	Headers  []struct {
		Name  blob `json:"name"`
		Value blob `json:"value"`
	} `json:"headers"`
	Payload blob `json:"payload"`
}

// accepted is an accepted delivery of an event.
type accepted struct {
	record
	Time     string `json:"time"`
	Revision int32  `json:"revision"`
	Voided   bool   `json:"voided"`
}

// blob is bytes that are mostly text.
type blob []byte

// UnmarshalJSON reads a text or, in an object, base64.
func (b *blob) UnmarshalJSON(content []byte) error {
	if !strings.HasPrefix(string(content), "{") {
		var text string
		err := jsonv2.Unmarshal(content, &text)
		*b = blob(text)
		return err
	}
	var encoded struct {
		Base64 []byte `json:"base64"`
	}
	err := jsonv2.Unmarshal(content, &encoded)
	*b = encoded.Base64
	return err
}

// String is the text, with a mark in place of what is none.
func (b blob) String() string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// replay is what became of refused deliveries that were replayed, or would.
type replay struct {
	DryRun     bool       `json:"dryRun"`
	Replayed   int        `json:"replayed"`
	Accepted   int        `json:"accepted"`
	Refused    int        `json:"refused"`
	Deliveries []replayed `json:"deliveries"`
}

// replayed is one of them.
type replayed struct {
	record
	Tenant  string `json:"tenantId"`
	Source  string `json:"source"`
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
}

// rejected lists refused deliveries, and counts them.
func (c *Console) rejected(p *page) error {
	var data struct {
		Counts struct {
			Items []refusedCount `json:"items"`
		}
		List struct {
			Items []refused `json:"items"`
			Next  string    `json:"next"`
		}
		Codes  []schemas.Code
		Topics []string
		Single bool
	}
	chosen := []string{"tenant", p.Query("tenant"), "source", p.Query("source"), "topic", p.Query("topic"),
		"code", p.Query("code"), "from", startOf(p.Query("from")), "to", startOf(p.Query("to")), "open", p.Query("open")}
	if err := p.get(&data.Counts, "/rejected:count", chosen...); err != nil {
		return err
	}
	if err := p.get(&data.List, "/rejected", append(chosen, "after", p.Query("after"))...); err != nil {
		return err
	}
	data.Codes = schemas.CodesOf(schemas.RefusesDelivery)
	for _, t := range schemas.Types {
		data.Topics = append(data.Topics, t.Topic())
	}
	p.Command = rejectedCommand(p)
	return p.show("rejected", "Rejected deliveries", data)
}

// refusedCount is how many deliveries of a source were refused for a reason.
type refusedCount struct {
	Code       schemas.Code `json:"code"`
	Tenant     string       `json:"tenantId"`
	Source     string       `json:"source"`
	Deliveries int64        `json:"deliveries"`
	First      string       `json:"first"`
	Last       string       `json:"last"`
}

// startOf is when a date begins in UTC, as an instant; "" for none. What is no date is for the API to refuse.
func startOf(date string) string {
	if date == "" {
		return ""
	}
	return date + "T00:00:00Z"
}

// rejectedCommand lists on a terminal what the page does, "" where no flag says the same.
func rejectedCommand(p *page) string {
	if p.Query("source") != "" {
		return ""
	}
	command := "apportion rejected list"
	for _, name := range []string{"tenant", "topic", "code"} {
		if value := p.Query(name); value != "" {
			command += " --" + name + " " + value
		}
	}
	if from := startOf(p.Query("from")); from != "" {
		command += " --since " + from
	}
	if to := startOf(p.Query("to")); to != "" {
		command += " --until " + to
	}
	if p.Query("open") == "true" {
		command += " --open"
	}
	return command
}

// replayChosen replays those that the page's filter chooses and that are open, or says what would become of them.
func (c *Console) replayChosen(p *page) error {
	filter := map[string]any{}
	for _, name := range []string{"tenant", "source"} {
		if value := p.Query(name); value != "" {
			filter[name] = value
		}
	}
	for _, name := range []string{"topic", "code"} {
		if value := p.Query(name); value != "" {
			filter[name] = []string{value}
		}
	}
	for _, name := range []string{"from", "to"} {
		if value := startOf(p.Query(name)); value != "" {
			filter[name] = value
		}
	}
	return p.replay(map[string]any{"filter": filter})
}

// replayOne replays the delivery that the page shows.
func (c *Console) replayOne(p *page) error {
	partition, err := strconv.ParseInt(p.r.PathValue("partition"), 10, 32)
	offset, err2 := strconv.ParseInt(p.r.PathValue("offset"), 10, 64)
	if cmp.Or(err, err2) != nil {
		return nil // to show it says that there is none
	}
	return p.replay(map[string]any{"places": []record{{p.r.PathValue("topic"), int32(partition), offset}}})
}

// replay asks for a replay, of which a dry run does nothing. The page is shown with what became of it: to send it again
// does no harm (R8).
func (p *page) replay(body map[string]any) error {
	var result replay
	body["dryRun"] = p.r.PostForm.Get("do") != "apply"
	if _, err := p.ask(http.MethodPost, "/rejected:replay", nil, body, &result); err != nil {
		return err
	}
	p.Answered = &result
	return nil
}

// letter shows a refused delivery whole.
func (c *Console) letter(p *page) error {
	var l letter
	where := []string{p.r.PathValue("topic"), p.r.PathValue("partition"), p.r.PathValue("offset")}
	if err := p.get(&l, route(append([]string{"rejected"}, where...)...)); err != nil {
		return err
	}
	p.Trail = []link{{"Rejected", "/rejected"}}
	p.Command = "apportion rejected show " + l.record.String()
	return p.show("letter", l.record.String(), &l)
}

// Text is the payload with what is at fault in it marked.
func (l *letter) Text() markedText { return markFault(l.Payload, l.Code, l.Field, l.Value) }

// Single says that it is one delivery.
func (l *letter) Single() bool { return true }

// AtFault reports whether a header is what is at fault: the attribute of an event in binary mode.
func (l *letter) AtFault(name blob) bool {
	return l.Field != "" && strings.EqualFold(name.String(), "ce_"+l.Field)
}
