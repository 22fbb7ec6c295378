package service

import (
	"fmt"

	"apportion/schemas"
	"apportion/schemas/civil"
)

// Error is why something that was asked for cannot be had.
type Error struct {
	Code    schemas.Code
	Message string
	// Period is that of what was asked for, 0 where it has none.
	Period civil.Month
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

func errorf(code schemas.Code, period civil.Month, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...), period}
}
