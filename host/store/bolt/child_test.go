package bolt_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

// The tests run their own binary as another process, with what it is to do in childVariable.
const childVariable = "TURNBUCKLE_STORE_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childVariable); task != "" {
		name, folder, _ := strings.Cut(task, " ")
		child(name, folder)
		return
	}
	os.Exit(m.Run())
}

// child writes until it is killed, and says each number that was acknowledged.
func child(name, folder string) {
	if limit, ok := strings.CutPrefix(name, "limited:"); ok { // a file that cannot grow stands for a disk that is full
		n, err := strconv.ParseUint(limit, 10, 64)
		if err == nil {
			err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n})
		}
		if err != nil {
			fmt.Println("error", err)
			return
		}
	}
	s, err := bolt.Open(context.Background(), folder, bolt.Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("open")
	if name == "hold" {
		select {} // until it is killed
	}
	acks := make(chan int)
	for w := range 4 {
		go func() {
			for i := w; ; i += 4 {
				if err := s.Apply(context.Background(), numbered(i)); err != nil {
					fmt.Println("error", err)
					return
				}
				acks <- i
			}
		}()
	}
	out := bufio.NewWriter(os.Stdout)
	for i := range acks {
		fmt.Fprintln(out, "ack", i)
		out.Flush() // only what is written out can be expected
	}
}

// numbered is a write whose value follows from its key.
func numbered(i int) store.Write {
	return store.Write{Key: fmt.Sprintf("key/%08d", i), Entry: store.Entry{Value: []byte(strings.Repeat(strconv.Itoa(i), 100))}}
}

// start runs a child. Its lines come one by one; the test kills it.
func start(t *testing.T, name, folder string) (process *os.Process, lines *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+name+" "+folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	bound := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	t.Cleanup(func() { bound.Stop() })
	return cmd.Process, bufio.NewScanner(out)
}

func TestKilled(t *testing.T) {
	folder := t.TempDir()
	for round := range 3 {
		process, lines := start(t, "write", folder)
		var acked []int
		for lines.Scan() {
			if number, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
				i, err := strconv.Atoi(number)
				if err != nil {
					t.Fatal(err)
				}
				if acked = append(acked, i); len(acked) == 200*(round+1) {
					if err := process.Kill(); err != nil { // SIGKILL; what it still says before it dies counts too
						t.Fatal(err)
					}
				}
			} else if lines.Text() != "open" {
				t.Fatal(lines.Text())
			}
		}
		if len(acked) < 200 {
			t.Fatalf("only %d were acknowledged", len(acked))
		}
		s, err := bolt.Open(t.Context(), folder, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range acked {
			w := numbered(i)
			if e, err := s.Get(t.Context(), w.Key); err != nil || string(e.Value) != string(w.Value) {
				t.Fatalf("round %d: acknowledged %d of %d is lost: %v", round, i, len(acked), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
