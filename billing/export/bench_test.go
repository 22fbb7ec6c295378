package export

import (
	"fmt"
	"slices"
	"testing"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// many is a run of tenants with three invoices each.
func many(tenants int) *billing.Run {
	one := monthRun()
	run := &billing.Run{Period: one.Period, Accounts: map[string]billing.Account{}}
	for n := range tenants {
		id := fmt.Sprintf("tenant-%04d", n)
		account := one.Accounts["acme"]
		tenant := *account.Tenant
		tenant.ID, tenant.BillTo = id, &registry.BillTo{Address: registry.Address{Country: "SE"}, Tax: registry.Taxes{{From: civil.NoDate, Category: "S", Rate: dec("25")}}}
		account.Tenant = &tenant
		run.Accounts[id] = account
		for k := range 3 {
			i := one.Invoices[0]
			i.Tenant, i.Subscription = id, fmt.Sprintf("Sub%04d-%d", n, k)
			i.ID = billing.InvoiceID(i.Subscription, run.Period)
			i.Lines = slices.Clone(i.Lines)
			run.Invoices = append(run.Invoices, i)
		}
	}
	return run
}

// BenchmarkWrite writes the files of 1,000 tenants with three invoices each.
func BenchmarkWrite(b *testing.B) {
	run := many(1000)
	for b.Loop() {
		_, refusals, err := Write(b.TempDir(), run)
		if err != nil || len(refusals) > 0 {
			b.Fatalf("%v, %v", refusals, err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/month")
}

// BenchmarkWriteAgain finds them there already.
func BenchmarkWriteAgain(b *testing.B) {
	run, dir := many(1000), b.TempDir()
	for b.Loop() {
		if _, _, err := Write(dir, run); err != nil {
			b.Fatal(err)
		}
	}
}
