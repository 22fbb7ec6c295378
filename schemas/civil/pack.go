//go:build ignore

// Pack writes zoneinfo.zip from a package of the IANA time zone data; see `make tzdata`.
package main

import (
	"log"
	"os"

	"apportion/schemas/civil"
)

func main() {
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	data, err := civil.ReadZip(content)
	if err != nil {
		log.Fatal(err)
	}
	out, err := os.Create(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	if err := data.Write(out); err != nil {
		log.Fatal(err)
	}
	if err := out.Close(); err != nil {
		log.Fatal(err)
	}
	log.Printf("%s has edition %s, %d zones", os.Args[2], data.Edition, len(data.Names()))
}
