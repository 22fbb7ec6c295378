package console

import (
	"cmp"
	"slices"

	"apportion/schemas/civil"
)

func (c *Console) usageScreens() []screen {
	return []screen{
		{path: "/tenants/{tenant}/live", needs: "getLive", show: c.live},
		{path: "/tenants/{tenant}/usage", needs: "getConcurrency", show: c.usage},
	}
}

// liveNow is what a tenant has live, as GET /tenants/{tenant}/live has it.
type liveNow struct {
	At     string      `json:"at"`
	Date   civil.Date  `json:"date"`
	Meters []liveMeter `json:"meters"`
}

// liveMeter is what of one meter is live.
type liveMeter struct {
	Meter       string           `json:"meter"`
	Live        int64            `json:"live"`
	Pool        int64            `json:"pool"`
	Peak        *poolAt          `json:"peak"`
	Departments []liveDepartment `json:"departments"`
	Points      [][3]int64       `json:"points"`

	Bar  liveBar `json:"-"`
	Plot *plot   `json:"-"` // of the day so far; nil without anything to draw
}

// liveDepartment is what of one meter is live in a subscription.
type liveDepartment struct {
	Subscription string `json:"subscriptionId"`
	Department   string `json:"department"`
	Live         int64  `json:"live"`
	Committed    int64  `json:"committed"`
}

// Over reports whether more is live than there is in the pool.
func (m liveMeter) Over() bool { return m.Live > m.Pool }

// Idle reports whether there is nothing to say of the meter.
func (m liveMeter) Idle() bool { return m.Live == 0 && m.Pool == 0 && m.Peak == nil }

// liveBar is how what is live is drawn against the pool: places from the left, of barWidth.
type liveBar struct{ Live, Pool, Excess int }

const barWidth = 280

// liveStepMS is how long the steps of the day so far are.
const liveStepMS = 600_000

// refreshed is after how many seconds the page loads again without scripts; with them it asks every few seconds.
const refreshed = 15

// live is what a tenant has live now.
func (c *Console) live(p *page) error {
	if err := p.ofTenant(); err != nil {
		return err
	}
	var now liveNow
	if err := p.get(&now, route("tenants", p.Tenant.ID, "live")); err != nil {
		return err
	}
	slices.SortStableFunc(now.Meters, func(a, b liveMeter) int {
		return cmp.Compare(meterPlace(a.Meter), meterPlace(b.Meter))
	})
	for i := range now.Meters {
		m := &now.Meters[i]
		width := scale{0, max(m.Live, m.Pool, 1), 0, barWidth}
		m.Bar = liveBar{Live: width.at(m.Live), Pool: width.at(m.Pool)}
		m.Bar.Excess = max(0, m.Bar.Live-m.Bar.Pool)
		if !m.Idle() && len(m.Points) > 0 {
			m.Plot = p.newPlot(plotOf{Series: series{Points: m.Points, Peak: m.Peak}, From: now.Date, To: now.Date + 1,
				StepMS: liveStepMS, Height: 180})
		}
	}
	if p.Query("pause") == "" {
		p.Refresh, p.Scripts = refreshed, []string{"vendor/htmx.min.js"}
	}
	p.Trail = append(p.Trail, link{"Monitoring", route("tenants", p.Tenant.ID, "live")})
	return p.show("live", "Live", now)
}
