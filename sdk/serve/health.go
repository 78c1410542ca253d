package serve

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthService is grpc.health.v1 for a server that serves until it drains. Watchers are told of the drain and then
// sent away: gRPC's own implementation would keep their streams, and so the drain, open.
type healthService struct {
	healthpb.UnimplementedHealthServer
	draining <-chan struct{}
	services []string // that are known
}

func (h *healthService) status(service string) (healthpb.HealthCheckResponse_ServingStatus, bool) {
	known := slices.Contains(h.services, service)
	select {
	case <-h.draining:
		return healthpb.HealthCheckResponse_NOT_SERVING, known
	default:
		return healthpb.HealthCheckResponse_SERVING, known
	}
}

// Check tells whether a service is served.
func (h *healthService) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	now, known := h.status(r.Service)
	if !known {
		return nil, status.Errorf(codes.NotFound, "unknown service %q", r.Service)
	}
	return &healthpb.HealthCheckResponse{Status: now}, nil
}

// Watch tells whether a service is served, and when that changes.
func (h *healthService) Watch(r *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	for {
		now, known := h.status(r.Service)
		if !known {
			now = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
			return err
		}
		if now == healthpb.HealthCheckResponse_NOT_SERVING {
			return status.Error(codes.Unavailable, "the server drains")
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-h.draining:
			if !known {
				return status.Error(codes.Unavailable, "the server drains")
			}
		}
	}
}
