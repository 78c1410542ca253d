package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// profileRow runs a row once more for some seconds, takes a CPU profile from the gateway's control listener
// meanwhile, keeps it in the working directory and prints its top entries.
func (c course) profileRow(ctx context.Context, name string, stdout io.Writer) error {
	i := slices.IndexFunc(c.rows, func(r row) bool { return r.name == name })
	if i < 0 {
		return fmt.Errorf("no row %q among those measured", name)
	}
	row := c.rows[i]
	if row.setup.kind != gateway {
		return fmt.Errorf("%s has no gateway of ours", name)
	}
	f, err := c.open(ctx, row.setup)
	if err != nil {
		return err
	}
	defer f.stop()
	if row.setup.keys > 0 {
		if err := c.warm(ctx, row, f); err != nil {
			return err
		}
	}

	const seconds = 5
	job := c.job(row, f)
	job.Duration = (seconds + 2) * time.Second
	loaded := make(chan error, 1)
	go func() {
		_, err := c.generate(ctx, job)
		loaded <- err
	}()
	file := "bench-" + strings.ReplaceAll(name, "/", "-") + ".prof"
	err = fetchProfile(ctx, f.admin, seconds, file)
	if err = errors.Join(err, <-loaded); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "\nprofile of %s, kept in %s:\n", name, file)
	top := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=30", file)
	top.Stdout, top.Stderr = stdout, os.Stderr
	return top.Run()
}

func fetchProfile(ctx context.Context, admin string, seconds int, file string) error {
	reply, err := askAdmin(ctx, admin, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, reply.Body)
	return errors.Join(err, out.Close())
}
