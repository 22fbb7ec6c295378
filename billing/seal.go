package billing

import (
	"fmt"

	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// TooEarlyToSeal returns why a period may not be sealed yet at now, in UTC epoch milliseconds; nil where it may (R25).
// Its grace must be over by so many months for every tenant: that of the period so many months later must be over. With
// 0, which is the default, nothing is ever sealed. Whether everybody is issued is decided by the registry's log.
func TooEarlyToSeal(state registry.State, through civil.Month, afterMonths int, nowMS int64, rules Rules) (
	*registry.Refusal, error) {
	refuse := func(format string, args ...any) *registry.Refusal {
		return &registry.Refusal{Code: schemas.SealTooEarly, Field: "data.through", Value: through.String(),
			Message: fmt.Sprintf(format, args...)}
	}
	if afterMonths == 0 {
		return refuse("nothing is sealed: how many months a grace must be over is not configured (seal.afterMonths)"), nil
	}
	latest := int64(0)
	for _, t := range state.Tenants() {
		zone, err := zoneOf(t, rules)
		if err != nil {
			return nil, err
		}
		latest = max(latest, graceEnd(zone, through+civil.Month(afterMonths), rules))
	}
	if nowMS < latest {
		return refuse("it can be sealed from %s on, when its grace is over by %d months (seal.afterMonths)",
			civil.FormatMillis(latest), afterMonths), nil
	}
	return nil, nil
}
