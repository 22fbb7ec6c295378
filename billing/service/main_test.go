package service_test

import (
	"testing"

	"apportion/deploy/embedded/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }
