package main

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/isolate"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
)

// TestMain makes this test binary also the gateway itself and the programs around it: each is a command on the PATH of
// scripts and tests, and runs as a process of its own.
func TestMain(m *testing.M) {
	if keeper.Wanted(os.Args) { // a gateway's: main would do that first
		os.Exit(keeper.Main())
	}
	if isolate.Wanted(os.Args) {
		os.Exit(runScript())
	}
	testscript.Main(m, map[string]func(){
		"turnbuckle": main,
		"upstream":   program(runUpstream),
		"tykplugin":  func() { exit(runTykPlugin(os.Args[1:])) },
		"plugin":     runNativePlugin,
		"hostile":    program(runHostile),
		"tykbundle":  func() { exit(runTykBundle(os.Args[1:])) },
	})
}

// program makes a main of run that ends well when it is told to.
func program(run func(args []string) error) func() {
	return func() {
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGTERM)
		go func() {
			<-told
			os.Exit(0)
		}()
		exit(run(os.Args[1:]))
	}
}

// exit ends a program as its error says.
func exit(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString(os.Args[0] + ": " + err.Error() + "\n")
		os.Exit(1)
	}
}

// TestScripts runs testdata/script; testdata/README.md has the commands.
func TestScripts(t *testing.T) {
	interpreters := &pythons{t: t}
	commands := scriptCommands()
	commands["python"] = interpreters.command
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		Setup:              setupScript,
		Cmds:               commands,
		Condition:          interpreters.condition,
		RequireUniqueNames: true,
	})
}
