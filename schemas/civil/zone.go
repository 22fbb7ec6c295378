package civil

import (
	"errors"
	"fmt"
	"time"
)

// Zone is an IANA time zone, read for the two questions that the rules ask of it: when does a date start,
// and which date holds an instant. It is safe for concurrent use.
type Zone struct {
	name     string
	location *time.Location
	data     []byte // as compiled, RFC 9636; nil for UTC below
}

// ErrUnknownZone says that a name is not one of the IANA zones of the data in use.
var ErrUnknownZone = errors.New("unknown time zone")

// LoadZone returns the zone of an IANA name such as Europe/Stockholm from the data in use, and [ErrUnknownZone] for any
// other.
func LoadZone(name string) (*Zone, error) { return InUse().Load(name) }

// UTC is the zone of what belongs to no known tenant (R22).
var UTC = &Zone{name: "UTC", location: time.UTC}

// ReadZone returns the zone that [Zone.Data] gave, whatever the data in use says by now.
func ReadZone(name string, data []byte) (*Zone, error) {
	if len(data) == 0 && name == UTC.name {
		return UTC, nil
	}
	location, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, fmt.Errorf("time zone %s: %w", name, err)
	}
	return &Zone{name, location, data}, nil
}

// Data returns the zone as compiled (RFC 9636). It must not be changed.
func (z *Zone) Data() []byte { return z.data }

// Name returns the IANA name.
func (z *Zone) Name() string { return z.name }

// Time returns an instant (UTC epoch milliseconds) as the zone's clock reads it, for people to see.
func (z *Zone) Time(ms int64) time.Time { return time.UnixMilli(ms).In(z.location) }

// Start returns 00:00 of a date as UTC epoch milliseconds: the earliest instant whose local reading is that
// midnight or later. Where the clock skips midnight that is the end of the gap, where it repeats it the first
// of the two, and a date that is skipped whole starts where the next one does.
func (z *Zone) Start(d Date) int64 {
	midnight := int64(d) * 86400 // as a local reading, in seconds
	// No zone was ever a day or more from UTC, so a day and a half before, the reading is still earlier. From
	// there the stretches of equal offset are walked in the order of time until one reaches the midnight.
	t := time.Unix(midnight-36*3600, 0).In(z.location)
	for {
		_, offset := t.Zone()
		from, to := t.ZoneBounds()
		if !to.IsZero() && !to.After(t) {
			// Beyond the transitions of the table, ZoneBounds takes every year to have 365 days, and so ends the
			// stretch that holds the last day of a leap year before that day. No rule changes a clock then.
			to = t.Add(time.Hour)
		}
		at := midnight - int64(offset)
		if !from.IsZero() {
			at = max(at, from.Unix())
		}
		if to.IsZero() || at < to.Unix() {
			return at * 1000
		}
		t = to
	}
}

// DateOf returns the date that holds an instant (UTC epoch milliseconds): the last one that has started. It
// is never a date that the zone skips. Where the clock is put back over midnight, the repeated hour belongs
// to the date that had begun, whatever the clock on the wall reads.
func (z *Zone) DateOf(ms int64) Date {
	// The division rounds towards 1970 and no zone is a day from UTC, so this is no later than the date sought.
	d := Date((ms/1000 - 60*3600) / 86400)
	for z.Start(d+1) <= ms {
		d++
	}
	return d
}
