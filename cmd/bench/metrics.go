package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// What the gateway counts about its native streams.
const (
	callsMetric  = "turnbuckle_plugin_calls_total"
	framesMetric = "turnbuckle_plugin_frames_total"
)

// frames is where the gateway's counters of calls and of the frames they left in stand.
type frames struct{ calls, frames float64 }

// since is the calls per frame between two readings; 0 when no frame left.
func (f frames) since(before frames) float64 {
	if f.frames <= before.frames {
		return 0
	}
	return (f.calls - before.calls) / (f.frames - before.frames)
}

// readFrames asks the control listener for the counters, summed over their labels.
func readFrames(ctx context.Context, admin string) (frames, error) {
	reply, err := askAdmin(ctx, admin, "/metrics")
	if err != nil {
		return frames{}, err
	}
	defer reply.Body.Close()
	return parseFrames(reply.Body)
}

// askAdmin makes a GET request to the control listener; the caller closes the body.
func askAdmin(ctx context.Context, admin, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+adminSecret)
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if reply.StatusCode != http.StatusOK {
		reply.Body.Close()
		return nil, fmt.Errorf("control listener: %s answers %s", path, reply.Status)
	}
	return reply, nil
}

// parseFrames reads the Prometheus text format.
func parseFrames(r io.Reader) (frames, error) {
	var f frames
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		name, _, _ := strings.Cut(lines.Text(), "{")
		name, _, _ = strings.Cut(name, " ")
		if name != callsMetric && name != framesMetric {
			continue
		}
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return f, fmt.Errorf("odd metric %q", lines.Text())
		}
		if name == callsMetric {
			f.calls += v
		} else {
			f.frames += v
		}
	}
	return f, lines.Err()
}
