package registry

import "apportion/schemas/civil"

// changedFrom is a command that changed a tenant, and the first date of which it changed anything: NoDate for any date.
// Behind it are those before it that changed earlier dates; of the others nothing need be known, since each has a later
// one that changed as much. So asking costs what has been commanded since, and each command the same.
type changedFrom struct {
	offset int64
	date   civil.Date
	before *changedFrom
}

func (c *changedFrom) with(offset int64, date civil.Date) *changedFrom {
	for c != nil && c.date >= date {
		c = c.before
	}
	return &changedFrom{offset, date, c}
}

// ChangedFrom returns the first date of which the commands from an offset on changed anything that is said of a tenant,
// and NoDate where it may be any date. Mappings that are set from a date on leave what was before (R7, R10).
func (s State) ChangedFrom(id string, offset int64) civil.Date {
	st, ok := s.tenants.get(id)
	if !ok {
		return civil.NoDate
	}
	date := civil.NoDate
	for c := st.changed; c != nil && c.offset >= offset; c = c.before {
		date = c.date
	}
	return date
}
