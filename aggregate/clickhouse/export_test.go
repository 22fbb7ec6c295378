package clickhouse

import "github.com/ClickHouse/clickhouse-go/v2/lib/driver"

// NewStoreWithSpare returns a store that clears figures out of force as soon as they are that many more than the
// others.
func NewStoreWithSpare(conn driver.Conn, spare uint64) *Store {
	s := NewStore(conn)
	s.spare = spare
	return s
}
