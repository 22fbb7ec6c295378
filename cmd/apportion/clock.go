package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// mostApart is how far two clocks may differ that both are believed.
const mostApart = 5 * time.Minute

// now is the process's clock.
func (a *app) now() time.Time {
	if a.clock != nil {
		return a.clock()
	}
	return time.Now()
}

// checkClocks returns how far the process's clock is ahead of ClickHouse's, and an error if that is so far, ahead or
// behind, that nothing may be issued by it (R20). How long the question takes is no difference.
func checkClocks(ctx context.Context, conn driver.Conn, now func() time.Time) (ahead time.Duration, err error) {
	var server int64
	before := now()
	if err := conn.QueryRow(ctx, "SELECT toUnixTimestamp64Milli(now64(3))").Scan(&server); err != nil {
		return 0, err
	}
	after, of := now(), time.UnixMilli(server)
	switch {
	case before.After(of):
		ahead = before.Sub(of)
	case after.Before(of):
		ahead = after.Sub(of)
	}
	if ahead.Abs() > mostApart {
		return ahead, fmt.Errorf("this machine's clock says %s and ClickHouse's says %s, more than %v apart: nothing is issued until they agree; put the wrong one right",
			after.UTC().Format(time.RFC3339), of.UTC().Format(time.RFC3339), mostApart)
	}
	return ahead, nil
}
