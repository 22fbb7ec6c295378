package console

import "strings"

func (c *Console) pipelineScreens() []screen {
	return []screen{{path: "/pipeline", needs: "getPipeline", show: c.pipeline}}
}

// pipeline is how current everything is, as GET /pipeline has it.
type pipeline struct {
	At         string `json:"at"`
	Partitions []struct {
		Topic     string `json:"topic"`
		Partition int    `json:"partition"`
		Next      int64  `json:"next"`
		End       int64  `json:"end"`
		Lag       int64  `json:"lag"`
		Retained  int64  `json:"retained"`
	} `json:"partitions"`
	Lag       int64 `json:"lag"`
	TakenIn   int64 `json:"takenIn"`
	Freshness struct {
		AgeMS     int64 `json:"ageMs"`
		WaitingMS int64 `json:"waitingMs"`
		FiguresMS int64 `json:"figuresMs"`
	} `json:"freshness"`
	DirtyDays int `json:"dirtyDays"`
	Pass      *struct {
		RegistryOffset int64  `json:"registryOffset"`
		TZVersion      string `json:"tzVersion"`
		FinishedAt     string `json:"finishedAt"`
		Behind         []struct {
			Tenant string `json:"tenantId"`
			Reason string `json:"reason"`
		} `json:"behind"`
	} `json:"pass"`
	Registry struct {
		LastOffset     int64 `json:"lastOffset"`
		RecordedOffset int64 `json:"recordedOffset"`
	} `json:"registry"`
	Schedule *struct {
		From string `json:"from"`
		Next string `json:"next"`
		Last *struct {
			At      string         `json:"at"`
			Failed  bool           `json:"failed"`
			Issued  int            `json:"issued"`
			Stopped map[string]int `json:"stopped"`
		} `json:"last"`
	} `json:"schedule"`

	// Refused is the last delivery that was refused, where that may be asked for; Asked says whether it may.
	Refused *refused `json:"-"`
	Asked   bool     `json:"-"`
}

// Stale says how long a change may wait to be shown before a page says that it is late, in milliseconds.
const stale = 60_000

// Late reports whether a change waits for longer than it should.
func (p *pipeline) Late() bool { return p.Freshness.AgeMS >= stale }

// Short is when something was, in UTC: the time alone where it was on the day of the figures.
func (p *pipeline) Short(instant string) string {
	if len(instant) < len("2006-01-02T15:04:05Z") || len(p.At) < len(instant) {
		return "–"
	}
	date, clock := instant[:10], instant[11:16]
	if date == p.At[:10] {
		return clock + " UTC"
	}
	return strings.TrimPrefix(date, p.At[:5]) + " " + clock + " UTC"
}

// pipeline draws the way of the data, with how far it is.
func (c *Console) pipeline(p *page) error {
	var of pipeline
	if err := p.get(&of, "/pipeline"); err != nil {
		return err
	}
	if of.Asked = p.May("listRejected"); of.Asked {
		var list struct {
			Items []refused `json:"items"`
		}
		if err := p.get(&list, "/rejected", "limit", "1"); err != nil {
			return err
		}
		if len(list.Items) > 0 {
			of.Refused = &list.Items[0]
		}
	}
	p.Refresh, p.Scripts = 5, append(p.Scripts, "vendor/htmx.min.js")
	return p.show("pipeline", "Pipeline", &of)
}
