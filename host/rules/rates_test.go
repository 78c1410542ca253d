package rules

import (
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func TestRates(t *testing.T) {
	r, err := CompileRates([]config.PathRate{
		{PathMatch: config.PathMatch{Path: "/a/{id}", Methods: []string{"GET"}}, Rate: config.Rate{Requests: 1, Per: time.Second}},
		{PathMatch: config.PathMatch{Path: "/a/*"}, Rate: config.Rate{Requests: 2, Per: time.Second}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method, path string
		at           int
		requests     float64
	}{
		{"GET", "/a/7", 0, 1}, {"POST", "/a/7", 1, 2}, {"GET", "/a/%37", 0, 1}, {"GET", "/a/b/../7", 0, 1}, {"GET", "/b", -1, 0},
	}
	for _, tt := range tests {
		if at, rate := r.Find(tt.method, tt.path); at != tt.at || rate.Requests != tt.requests {
			t.Errorf("%s %s: got %d %v, want %d %v", tt.method, tt.path, at, rate.Requests, tt.at, tt.requests)
		}
	}
	none, err := CompileRates(nil)
	if at, _ := none.Find("GET", "/"); at != -1 || err != nil {
		t.Errorf("without rates: %d %v", at, err)
	}
	if _, err := CompileRates([]config.PathRate{{PathMatch: config.PathMatch{Path: "~("}}}); err == nil {
		t.Error("a bad pattern compiles")
	}
}
