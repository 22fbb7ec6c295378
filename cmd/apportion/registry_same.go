package main

import (
	"context"

	"apportion/schemas"
)

// sameRegistry makes sure that the command topic is the one that registry_log was written from, by the log's last
// command; it is an [kafka.OtherLogError] otherwise. A command that has no connection to ClickHouse cannot tell.
func (a *app) sameRegistry(ctx context.Context) error {
	if a.conn == nil {
		return nil
	}
	offset, payload, err := a.registryLog(a.conn).Last(ctx)
	if err != nil || offset < 0 {
		return err
	}
	client, err := a.kafka()
	if err != nil {
		return err
	}
	return client.SameLog(ctx, a.topic(schemas.TopicRegistry), offset, payload)
}
