package console

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// balanced is GET /periods/{period}/balance: what became of deliveries (R22).
type balanced struct {
	Partitions  []partitionBalance `json:"partitions"`
	OtherTopics []string           `json:"otherTopics"`
	Rejected    map[string]int64   `json:"rejected"`
	Tenants     []tenantBalance    `json:"tenants"`
	Findings    []finding          `json:"findings"`
	Total       became             `json:"total"`
	Ledger      *struct {
		Published int64 `json:"published"`
		NotRead   int64 `json:"notRead"`
		Read      int64 `json:"read"`
		Skipped   int64 `json:"skipped"`
		Accepted  int64 `json:"accepted"`
		Rejected  int64 `json:"rejected"`
		Elsewhere int64 `json:"elsewhere"`
	} `json:"ledger"`
}

// tenantBalance is what became of the deliveries of a tenant, and what of its units is on invoices.
type tenantBalance struct {
	Tenant string `json:"tenantId"`
	became
	Usage []struct {
		Meter           string `json:"meter"`
		Events          int64  `json:"events"`
		OnSubscriptions int64  `json:"eventsOnSubscriptions"`
		Units           string `json:"units"`
		UnitsOn         string `json:"unitsOnSubscriptions"`
		Invoiced        string `json:"unitsInvoiced"`
		NotIssued       string `json:"unitsNotIssued"`
		Since           string `json:"unitsSinceIssue"`
	} `json:"usage"`
	Issued      bool     `json:"issued"`
	Differences []string `json:"differences"`
}

// partitionBalance is what was read of a partition.
type partitionBalance struct {
	Topic       string   `json:"topic"`
	Partition   int      `json:"partition"`
	Published   *int64   `json:"published"` // nil where Kafka does not have the partition, as NotRead
	NotRead     *int64   `json:"notRead"`
	Read        int64    `json:"read"`
	Skipped     int64    `json:"skipped"`
	Accepted    int64    `json:"accepted"`
	Rejected    int64    `json:"rejected"`
	Differences []string `json:"differences"`
}

// Name names the partition as the program does.
func (p partitionBalance) Name() string { return p.Topic + "/" + strconv.Itoa(p.Partition) }

// Fails are its differences, which begin with its name, without that.
func (p partitionBalance) Fails() (all []string) {
	for _, d := range p.Differences {
		all = append(all, strings.TrimPrefix(d, p.Name()+": "))
	}
	return all
}

// OnKafka are what is published and what of it is not read.
func (p partitionBalance) OnKafka() []string {
	if p.Published == nil || p.NotRead == nil {
		return []string{"not on Kafka", "–"}
	}
	return []string{number(*p.Published), number(*p.NotRead)}
}

// became is what became of the deliveries of a period.
type became struct {
	Accepted      int64 `json:"accepted"`
	Counted       int64 `json:"counted"`
	Duplicate     int64 `json:"duplicate"`
	Superseded    int64 `json:"superseded"`
	Voided        int64 `json:"voided"`
	Unallocated   int64 `json:"unallocated"`
	UnknownTenant int64 `json:"unknownTenant"`
}

// Fails are all differences, which name offsets or days.
func (b *balanced) Fails() (all []string) {
	all = append(all, b.OtherTopics...)
	for _, p := range b.Partitions {
		for _, d := range p.Fails() {
			all = append(all, fmt.Sprintf("%s: %s", p.Name(), d))
		}
	}
	for _, t := range b.Tenants {
		for _, d := range t.Differences {
			all = append(all, t.Tenant+": "+d)
		}
	}
	return all
}

// Flow draws the balance: what comes from the left goes on to the right, and each part has its number.
func (b *balanced) Flow() *flowChart {
	period := flowPart{"accepted, of the period", b.Total.Accepted, "s1"}
	parts := []flowPart{{"counted", b.Total.Counted, "s3"}, {"duplicate", b.Total.Duplicate, "s5"},
		{"superseded", b.Total.Superseded, "s6"}, {"voided", b.Total.Voided, "s4"},
		{"unallocated", b.Total.Unallocated, "s2"}, {"unknown tenant", b.Total.UnknownTenant, "s2"}}
	if slices.ContainsFunc(b.Tenants, func(t tenantBalance) bool { return len(t.Differences) > 0 }) {
		period.Name, period.Hue = "of the period: fails", "fails"
	}
	if b.Ledger == nil {
		return drawFlow([][]flowPart{{period}, parts})
	}
	l := b.Ledger
	read := flowPart{"read", l.Read, "s1"}
	if slices.ContainsFunc(b.Partitions, func(p partitionBalance) bool { return len(p.Differences) > 0 }) {
		read.Name, read.Hue = "read: fails", "fails"
	}
	return drawFlow([][]flowPart{{{"published", l.Published, "s0"}},
		{read, {"skipped by Kafka", l.Skipped, "s0"}, {"not read yet", l.NotRead, "s2"}},
		{{"accepted", l.Accepted, "s1"}, {"refused", l.Rejected, "s2"}},
		{period, {"accepted, elsewhere", l.Elsewhere, "s0"}}, parts})
}

// flowPart is a part of a flow.
type flowPart struct {
	Name  string
	Count int64
	Hue   string
}

// flowChart is a flow in columns; the first part of a column goes on to all of the next.
type flowChart struct {
	Width, Height int
	Nodes         []flowNode
	Bands         []flowBand
}

type flowNode struct {
	flowPart
	box
}

type flowBand struct{ Path, Hue string }

// flowHeight is how high the greatest part is, and flowLeast the smallest, so that it is seen and has its words.
const (
	flowHeight = 220
	flowLeast  = 30
	flowGap    = 10
	flowBar    = 12
)

func drawFlow(columns [][]flowPart) *flowChart {
	greatest := int64(1)
	for _, column := range columns {
		for _, part := range column {
			greatest = max(greatest, part.Count)
		}
	}
	high := scale{0, greatest, 0, flowHeight}
	c := &flowChart{Width: chartWidth}
	apart := (chartWidth - 170) / max(1, len(columns)-1)
	var from box // the part that goes on
	for n, column := range columns {
		y, of, used := 4, from, 0
		total := 0
		first := len(c.Nodes)
		for _, part := range column {
			if part.Count == 0 && n > 0 && part.Name != column[0].Name {
				continue
			}
			node := flowNode{part, box{n * apart, y, flowBar, max(flowLeast, high.at(part.Count))}}
			y += node.H + flowGap
			total += node.H
			c.Nodes = append(c.Nodes, node)
		}
		c.Height = max(c.Height, y)
		for i := first; n > 0 && i < len(c.Nodes); i++ {
			to := c.Nodes[i]
			share := to.H * of.H / total
			c.Bands = append(c.Bands, bandOf(of.X+flowBar, of.Y+used, share, to.X, to.Y, to.H, to.Hue))
			used += share
		}
		from = c.Nodes[first].box
	}
	return c
}

// bandOf leads from one side, y and high from the top, to another.
func bandOf(x, y, high, toX, toY, toHigh int, hue string) flowBand {
	middle := (x + toX) / 2
	return flowBand{fmt.Sprintf("M%d %dC%d %d %d %d %d %dV%dC%d %d %d %d %d %dZ", x, y, middle, y, middle, toY, toX, toY,
		toY+toHigh, middle, toY+toHigh, middle, y+high, x, y+high), hue}
}

// balance shows that nothing was lost between Kafka and the invoices of a period, or where it was.
func (c *Console) balance(p *page) error {
	var b balanced
	period := p.r.PathValue("period")
	if err := p.get(&b, route("periods", period, "balance"), "tenant", p.Query("tenant")); err != nil {
		return err
	}
	p.Command, p.Styles = "apportion reconcile --period "+period, moneyStyles
	if p.May("listPeriods") {
		p.Trail = append(p.Trail, link{"Periods", "/periods"}, link{period, "/periods?period=" + period})
	}
	return p.show("balance", "Balance of "+period, &b)
}
