// Command tyk-grpc is a gRPC plugin server as one is written for Tyk: the generated stubs of coprocess.Dispatcher, a
// switch over hook names, and nothing of ours. It runs behind Turnbuckle as it is.
package main

import (
	"flag"
	"log"
	"net"

	"google.golang.org/grpc"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5555", "address to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	coprocess.RegisterDispatcherServer(s, &Dispatcher{})
	log.Printf("serving on %s", l.Addr())
	log.Fatal(s.Serve(l))
}
