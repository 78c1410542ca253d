package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
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
	found, err := parseMetrics(r)
	return counters{calls: found.sum(callsMetric), frames: found.sum(framesMetric), requests: found.sum(requestsMetric)}, err
}

// metrics are the values of series, by name and labels as they stand.
type metrics map[string]float64

// sum adds up the series of a name that have all of the labels, which are written as in name="value".
func (m metrics) sum(name string, labels ...string) float64 {
	all := 0.0
	for series, v := range m {
		rest, _ := strings.CutPrefix(series, name)
		has := func(label string) bool { return strings.Contains(rest, label) }
		if len(rest) < len(series) && (rest == "" || rest[0] == '{') && !slices.ContainsFunc(labels, func(l string) bool { return !has(l) }) {
			all += v
		}
	}
	return all
}

// parseMetrics reads the Prometheus text format, without times.
func parseMetrics(r io.Reader) (metrics, error) {
	all := metrics{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		i := strings.LastIndexByte(lines.Text(), ' ')
		if i < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		v, err := strconv.ParseFloat(lines.Text()[i+1:], 64)
		if err != nil {
			return all, fmt.Errorf("odd metric %q", lines.Text())
		}
		all[lines.Text()[:i]] += v
	}
	return all, lines.Err()
}
