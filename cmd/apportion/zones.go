package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"time"

	"apportion/schemas/civil"
)

// readZoneData reads the time zone data of a zip file or of a directory.
func readZoneData(name string) (*civil.Data, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	var data *civil.Data
	if info.IsDir() {
		data, err = civil.ReadData(os.DirFS(name))
	} else {
		var content []byte
		if content, err = os.ReadFile(name); err == nil {
			data, err = civil.ReadZip(content)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// machineZones is where a machine has time zone data of its own, if it has any.
const machineZones = "/usr/share/zoneinfo/tzdata.zi"

// machineEdition returns the edition of the machine's own data, and nothing where that is not known.
func machineEdition(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	if m := zoneVersion.FindSubmatch(line); m != nil {
		return string(m[1])
	}
	return ""
}

var zoneVersion = regexp.MustCompile(`^# version (\S+)`)

// staleZones says why time zone data is to be replaced, and nothing while it need not be: laws change several times a
// year, and a month would begin an hour early or late (R17).
func staleZones(data *civil.Data, machine string, now time.Time) string {
	const year = 365 * 24 * time.Hour
	switch {
	case data.Older(machine):
		return "edition " + data.Edition + " is older than this machine's own, " + machine
	case !data.Date.IsZero() && now.Sub(data.Date) > year:
		return "edition " + data.Edition + " is older than a year: it was made on " + data.Date.UTC().Format(time.DateOnly)
	}
	return ""
}

// warnOfStaleZones says once, of commands that bill, that the time zone data is to be replaced.
func (a *app) warnOfStaleZones() {
	if why := staleZones(civil.InUse(), machineEdition(machineZones), time.Now()); why != "" {
		a.log.Warn("the time zone data is old; install a newer release, or let time.zoneData name newer data", "why", why)
	}
}
