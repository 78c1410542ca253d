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

// What the gateway counts: about its native streams, and its exchanges.
const (
	callsMetric    = "turnbuckle_plugin_calls_total"
	framesMetric   = "turnbuckle_plugin_frames_total"
	requestsMetric = "turnbuckle_requests_total"
)

// counters is where the gateway's counters of calls, of the frames they left in, and of exchanges stand.
type counters struct{ calls, frames, requests float64 }

// perFrame is the calls per frame between two readings; 0 when no frame left.
func (c counters) perFrame(before counters) float64 {
	if c.frames <= before.frames {
		return 0
	}
	return (c.calls - before.calls) / (c.frames - before.frames)
}

// readCounters asks the control listener for the counters, summed over their labels.
func readCounters(ctx context.Context, admin string) (counters, error) {
	reply, err := askAdmin(ctx, admin, "/metrics")
	if err != nil {
		return counters{}, err
	}
	defer reply.Body.Close()
	return parseCounters(reply.Body)
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

// parseCounters reads the Prometheus text format.
func parseCounters(r io.Reader) (counters, error) {
	var c counters
	wanted := map[string]*float64{callsMetric: &c.calls, framesMetric: &c.frames, requestsMetric: &c.requests}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		name, _, _ := strings.Cut(lines.Text(), "{")
		name, _, _ = strings.Cut(name, " ")
		to := wanted[name]
		if to == nil {
			continue
		}
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return c, fmt.Errorf("odd metric %q", lines.Text())
		}
		*to += v
	}
	return c, lines.Err()
}
