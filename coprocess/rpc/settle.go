package rpc

import "context"

// Settle waits until it is known whether the server takes calls: one of its instances does, or none of those that its
// name stands for can be reached. It returns early when ctx ends or the server is closed.
func (s *Server) Settle(ctx context.Context) {
	for {
		settled, news := s.settled()
		if settled {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// settled reports whether Settle's wait is over; if not, news is closed when it is worth asking again.
func (s *Server) settled() (settled bool, news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	settled = len(s.instances) > 0 || s.lastErr != nil
	for _, i := range s.instances {
		switch i.now() {
		case StateReady:
			return true, nil
		case StateConnecting:
			settled = false
		}
	}
	return settled, s.news
}

// now returns what the instance is doing.
func (i *instance) now() State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// announce wakes those who wait for news.
func (s *Server) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}
