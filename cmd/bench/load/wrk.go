package load

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed report.lua
var reportScript []byte

//go:embed tokens.lua
var tokensScript []byte

// Wrk returns a generator that runs the wrk program at path with one thread. Its scripts are written to dir.
func Wrk(path, dir string) (Generator, error) {
	script, numbered := filepath.Join(dir, "report.lua"), filepath.Join(dir, "numbered.lua")
	if err := os.WriteFile(script, reportScript, 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(numbered, append(append(tokensScript, '\n'), reportScript...), 0o644); err != nil {
		return nil, err
	}
	return func(ctx context.Context, job Job) (Result, error) {
		args := []string{
			"--threads", "1", "--connections", strconv.Itoa(job.Connections), "--timeout", "10s",
			"--duration", fmt.Sprintf("%ds", max(1, int(job.Duration.Seconds()+0.5))),
		}
		for _, h := range job.Header {
			args = append(args, "--header", h[0]+": "+h[1])
		}
		if n := job.Numbered; n.Count == 0 {
			args = append(args, "--script", script, job.URL)
		} else {
			args = append(args, "--script", numbered, job.URL, "--", n.Name, n.Prefix, strconv.Itoa(n.First), strconv.Itoa(n.Count))
		}
		cmd := exec.CommandContext(ctx, path, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return Result{}, fmt.Errorf("wrk: %w: %s", err, strings.TrimSpace(stderr.String()))
		}
		return parseWrk(string(out))
	}, nil
}

// parseWrk reads the line that report.lua writes: requests, microseconds, failures of each kind, percentiles.
func parseWrk(out string) (Result, error) {
	_, line, ok := strings.Cut(out, "\nBENCH ")
	if !ok {
		return Result{}, fmt.Errorf("wrk: no report in its output: %q", out)
	}
	line, _, _ = strings.Cut(line, "\n")
	var n [9]int64
	fields := strings.Fields(line)
	if len(fields) != len(n) {
		return Result{}, fmt.Errorf("wrk: odd report %q", line)
	}
	for i, f := range fields {
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return Result{}, fmt.Errorf("wrk: odd report %q", line)
		}
		n[i] = v
	}
	return Result{
		Requests: n[0],
		Elapsed:  time.Duration(n[1]) * time.Microsecond,
		Errors:   n[2] + n[3] + n[4] + n[5] + n[6],
		P50:      time.Duration(n[7]) * time.Microsecond,
		P99:      time.Duration(n[8]) * time.Microsecond,
	}, nil
}
