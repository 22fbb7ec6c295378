package kafka

import (
	"context"
	"errors"
	"io"

	"apportion/schemas"
)

// Check decides on deliveries in structured mode, one a line, plain or gzipped, as
// they would be decided after Publish, and calls refused for each that would be
// refused, with its line number from 1. It returns how many there are. A line
// that Publish would leave out is too_large.
func Check(ctx context.Context, r io.Reader, refused func(line int64, why *schemas.Rejection)) (
	deliveries int64, err error) {
	plain, err := gunzip(r)
	if err != nil {
		return 0, err
	}
	var decoder schemas.Decoder
	var event schemas.Event
	var buf []byte
	for lines := newLines(plain); ctx.Err() == nil; {
		buf, err = lines.next(buf[:0])
		var why *schemas.Rejection
		switch {
		case errors.Is(err, io.EOF):
			return deliveries, nil
		case errors.Is(err, errLineTooLong):
			why = &schemas.Rejection{Code: schemas.TooLarge,
				Message: "the line is too large for a Kafka record; send one event a line"}
		case err != nil:
			return deliveries, err
		case len(buf) == 0:
			continue
		default:
			why = decoder.Decode(schemas.AnyType, nil, buf, &event)
		}
		deliveries++
		if why != nil {
			refused(lines.number, why)
		}
	}
	return deliveries, context.Cause(ctx)
}
