package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// Wanted reports whether the process, whose arguments these are, is to be a keeper.
func Wanted(args []string) bool { return len(args) > 1 && args[1] == Arg }

// Main is a keeper's whole life. It returns the process's exit status.
func Main() int {
	runtime.LockOSThread() // the program's life is tied to the thread that starts it; the main one lasts
	// What ends hosts must not end keepers before their programs: they end with the socket.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	for _, fd := range []int{controlFile, outFile, errFile} {
		syscall.CloseOnExec(fd)
	}
	control := os.NewFile(controlFile, "control")
	k := &keeper{
		control: control, in: json.NewDecoder(control), out: json.NewEncoder(control),
		orders: make(chan stop), lost: make(chan struct{}), ended: make(chan Exit, 1), none: make(chan struct{}),
	}
	var m message
	if err := k.in.Decode(&m); err != nil || m.Start == nil {
		fmt.Fprintln(os.Stderr, "this is how a gateway keeps its plugins: it is not for being run by hand")
		return 2
	}
	k.spec = m.Start
	if err := k.start(); err != nil {
		k.say(message{Failed: err.Error()})
		k.clean()
		return 1
	}
	k.say(message{Started: k.pid})
	go k.listen()
	go k.reap()
	k.keep()
	k.clean()
	k.say(message{Gone: true})
	return 0
}

type keeper struct {
	spec    *Spec
	control *os.File
	in      *json.Decoder
	out     *json.Encoder // of the main goroutine
	pid     int           // of the program, and of its group and session

	orders chan stop
	lost   chan struct{} // closed when the host has ended
	ended  chan Exit     // of the program
	none   chan struct{} // closed when there is no process any more

	exit    Exit
	private bool // its folder is ours: we made it
	alone   bool // the host has ended
}

// say tells the host, which may have ended: then the lost socket says all there is to know.
func (k *keeper) say(m message) { _ = k.out.Encode(m) }

func (k *keeper) start() error {
	if err := prepare(&k.spec.Limits, k.spec.User != nil); err != nil {
		return err
	}
	if dir := k.spec.Private; dir != "" {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make the plugin's own folder: %w", err)
		}
		k.private = true
		if u := k.spec.User; u != nil {
			if err := os.Chown(dir, int(u.UID), int(u.GID)); err != nil {
				return fmt.Errorf("give the plugin its own folder: %w", err)
			}
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	attr := &syscall.ProcAttr{
		Dir: k.spec.Dir, Env: k.spec.Env,
		Files: []uintptr{null.Fd(), outFile, errFile},
		Sys:   attributes(),
	}
	if u := k.spec.User; u != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	k.pid, err = syscall.ForkExec(k.spec.Path, k.spec.Args, attr)
	if err != nil {
		return k.spec.explain(err)
	}
	if err := confine(k.pid, &k.spec.Limits); err != nil {
		_ = syscall.Kill(k.pid, syscall.SIGKILL)
		return err
	}
	return errors.Join(null.Close(), syscall.Close(outFile), syscall.Close(errFile))
}

// explain says why a program was not executed: the kernel's word is the same for the program, the folder to work in, and what
// the program's first line names.
func (s *Spec) explain(err error) error {
	_, noProgram := os.Stat(s.Path)
	info, noDir := os.Stat(s.Dir)
	switch {
	case s.Dir != "" && noDir != nil:
		return fmt.Errorf("start %s: the folder to work in: %w", s.Path, noDir)
	case s.Dir != "" && !info.IsDir():
		return fmt.Errorf("start %s: the folder to work in: %s is none", s.Path, s.Dir)
	case noProgram == nil && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("start %s: %w: it is there, but not the interpreter that its first line, or the loader that its header names", s.Path, err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("start %s: %w: it is no program for this machine, nor does its first line name an interpreter (#!)", s.Path, err)
	case errors.Is(err, fs.ErrPermission) && s.User != nil:
		return fmt.Errorf("start %s in %q: %w for user %d, who must be able to run the one and enter the other", s.Path, s.Dir, err, s.User.UID)
	}
	return &fs.PathError{Op: "start", Path: s.Path, Err: err}
}

// listen hands the host's orders on.
func (k *keeper) listen() {
	defer close(k.lost)
	for {
		var m message
		if k.in.Decode(&m) != nil {
			return
		}
		if m.Stop != nil {
			k.orders <- *m.Stop
		}
	}
}

// reap waits for children, the program and orphans alike, until there are none.
func (k *keeper) reap() {
	defer close(k.none)
	for {
		var status syscall.WaitStatus
		var used syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, 0, &used)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			return
		case pid == k.pid && (status.Exited() || status.Signaled()):
			k.ended <- exitOf(status, &used)
		}
	}
}

func exitOf(status syscall.WaitStatus, used *syscall.Rusage) Exit {
	e := Exit{Code: status.ExitStatus(), MaxRSS: maxRSS(used)}
	e.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	if status.Signaled() {
		e.Signal = signalName(status.Signal())
	}
	return e
}

// How often usage is looked at: to hold it to limits, and to tell the host.
const (
	lookEvery = 100 * time.Millisecond
	tellEvery = 5 * time.Second
	killEvery = 5 * time.Millisecond
)

// keep is what the keeper does while the program runs, and then until nothing of it runs.
func (k *keeper) keep() {
	every := tellEvery
	if k.spec.Limits.Memory > 0 || k.spec.Limits.Processes > 0 {
		every = lookEvery
	}
	look := time.NewTicker(every)
	defer look.Stop()
	told := time.Now()
	var patience <-chan time.Time // until SIGKILL
	for {
		select {
		case e := <-k.ended:
			k.note(e)
			k.kill()
			return
		case o := <-k.orders:
			k.exit.Ordered = true
			if o.Grace <= 0 {
				k.kill()
				return
			}
			_ = syscall.Kill(-k.pid, syscall.SIGTERM) // a group that has ended needs none
			patience = time.After(o.Grace)
		case <-patience:
			k.kill()
			return
		case <-k.lost:
			k.alone = true
			k.kill()
			return
		case now := <-look.C:
			u := usageOf(os.Getpid())
			if k.exit.Breach = k.spec.Limits.breach(u); k.exit.Breach != "" {
				k.kill()
				return
			}
			if now.Sub(told) >= tellEvery {
				told = now
				k.say(message{Usage: &u})
			}
		}
	}
}

// breach says which limit the usage is over.
func (l *Limits) breach(u Usage) string {
	switch {
	case l.Memory > 0 && u.Memory > l.Memory:
		return fmt.Sprintf("memory: %d MiB used, %d MiB allowed", u.Memory>>20, l.Memory>>20)
	case l.Processes > 0 && u.Processes > l.Processes:
		return fmt.Sprintf("processes: %d run, %d allowed", u.Processes, l.Processes)
	}
	return ""
}

// note keeps how the program ended and tells the host at once, before others have.
func (k *keeper) note(e Exit) {
	e.Ordered, e.Breach = k.exit.Ordered, k.exit.Breach
	k.exit = e
	k.say(message{Exit: &k.exit})
}

// kill ends the program and all that descends from it, and returns when nothing of it runs. Whoever forks meanwhile is
// found by the next look; what the program stopped or hid ends like the rest.
func (k *keeper) kill() {
	again := time.NewTicker(killEvery)
	defer again.Stop()
	for {
		_ = syscall.Kill(-k.pid, syscall.SIGKILL)
		killTree(os.Getpid())
		select {
		case e := <-k.ended:
			k.note(e)
		case <-k.none:
			select {
			case e := <-k.ended:
				k.note(e)
			default:
			}
			return
		case <-k.lost:
			k.lost, k.alone = nil, true // nothing to hear any more
		case <-k.orders: // it does end
		case <-again.C:
		}
	}
}

// clean removes what the program leaves behind, and nothing that was there before it; and what the host leaves behind, if it
// could not do so itself.
func (k *keeper) clean() {
	if k.private {
		_ = os.RemoveAll(k.spec.Private)
	}
	if !k.alone || k.exit.Ordered {
		return
	}
	for _, dir := range k.spec.Remains {
		_ = os.RemoveAll(dir)
	}
}
