package h1

import "sync"

// upgraded is a connection after a 101. Read, Write and Close may be called at the same time.
type upgraded struct {
	c     *conn
	early []byte // came behind the 101's header
	once  sync.Once
}

// Read returns what came with the 101 first.
func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.early) > 0 {
		n := copy(p, u.early)
		u.early = u.early[n:]
		return n, nil
	}
	n, err := u.c.nc.Read(p)
	if err != nil {
		err = u.c.why(err)
	}
	return n, err
}

// Write writes to the target.
func (u *upgraded) Write(p []byte) (int, error) {
	n, err := u.c.nc.Write(p)
	if err != nil {
		err = u.c.why(err)
	}
	return n, err
}

// CloseWrite tells the target that nothing more comes, and leaves reading open.
func (u *upgraded) CloseWrite() error {
	if half, ok := u.c.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection.
func (u *upgraded) Close() error {
	u.once.Do(func() { u.c.end(false) })
	return nil
}
