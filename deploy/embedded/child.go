package embedded

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
)

// childEnv names the library in the environment of a process that is to be ClickHouse.
const childEnv = "_APPORTION_RUN_CLICKHOUSE"

// drainTime is how long a server that is to stop may go on for its clients.
const drainTime = time.Second

// childReady tells that this program knows how to be the child. Without it, starting itself again
// would run the program, or all its tests, once more instead of ClickHouse.
var childReady atomic.Bool

// RunChild turns this process into ClickHouse if that is what it was started for, and does not return
// then. In every other process it returns at once. It must be called before anything else.
func RunChild() {
	library := os.Getenv(childEnv)
	if library == "" {
		childReady.Store(true)
		return
	}
	os.Exit(runClickHouse(library, os.Args[1:]))
}

// runClickHouse runs clickhouse-local's main function with the given arguments to its end, and
// returns an exit code.
func runClickHouse(library string, args []string) int {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		fmt.Fprintf(os.Stderr, "load ClickHouse: %v\n", err)
		return 1
	}
	var chdbQueryCmdline func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	purego.RegisterLibFunc(&chdbQueryCmdline, handle, "chdb_query_cmdline")
	// A server that aborts is to be gone at once, for the next one to take its place: its handlers would first
	// spend seconds on a report of a library without symbols.
	var chdbSetSignalHandlersEnabled func(enabled int32)
	purego.RegisterLibFunc(&chdbSetSignalHandlersEnabled, handle, "chdb_set_signal_handlers_enabled")
	chdbSetSignalHandlersEnabled(0)

	// The server sees the same end of input and stops, but first gives clients that stay connected five
	// seconds to leave. Whatever it acknowledged is in its files: there is nothing to wait that long for.
	var ended atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		ended.Store(true)
		time.Sleep(drainTime)
		os.Exit(0)
	}()

	argv := []*byte{cString("clickhouse")}
	for _, arg := range args {
		argv = append(argv, cString(arg))
	}
	argc := int32(len(argv))
	argv = append(argv, nil)
	chdbQueryCmdline(argc, unsafe.Pointer(&argv[0]))
	runtime.KeepAlive(argv)

	// The library says on standard error why it gave up, and nothing in what it returns.
	if !ended.Load() {
		return 1
	}
	return 0
}

func cString(s string) *byte { return &append([]byte(s), 0)[0] }
