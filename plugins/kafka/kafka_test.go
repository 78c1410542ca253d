package kafka

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func cluster(t *testing.T, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3), kfake.SeedTopics(4, "turnbuckle")}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func open(t *testing.T, brokers []string, more, dir string) *sdk.Plugin {
	t.Helper()
	list, err := json.Marshal(brokers)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"brokers":%s,"batch":{"wait":"20ms"},"retry":{"first":"20ms","max":"200ms","timeout":"1s"}%s}`, list, more)
	p, err := New(t.Context(), json.RawMessage(config), sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func end(t *testing.T, p *sdk.Plugin) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// consume reads a topic until it has had n different records, as a consumer that was there all the time would.
func consume(t *testing.T, brokers []string, n int, look func(*kgo.Record), o ...kgo.Opt) *shiptest.Seen {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("turnbuckle")}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := shiptest.NewSeen()
	for seen.Len() < n {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			look(r)
			if err := seen.Add(r.Value); err != nil {
				t.Error(err)
			}
		})
	}
	return seen
}

func ignore(*kgo.Record) {}

func delivered(p *sdk.Plugin, n int) func() bool {
	return func() bool { return shiptest.Stat(p, "delivered") >= float64(n) }
}

func isDown(p *sdk.Plugin) func() bool { return func() bool { return shiptest.Stat(p, "up") == 0 } }

// All brokers are stopped while records come, and started again on their ports with what they had stored: everything
// arrives, in order per key, and each key in one partition.
func TestStop(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		stop(t, shiptest.Count(20_000, 1_000_000), func(_ *testing.T, p *sdk.Plugin) *sdk.Plugin { return p })
	})
	t.Run("out of process", func(t *testing.T) {
		t.Parallel()
		stop(t, 2_000, remotetest.Serve)
	})
}

func stop(t *testing.T, all int, where func(*testing.T, *sdk.Plugin) *sdk.Plugin) {
	t.Helper()
	stored, ports := kfake.DataDir(t.TempDir()), kfake.Ports(shiptest.FreePort(t), shiptest.FreePort(t), shiptest.FreePort(t))
	c := cluster(t, stored, ports)
	addresses := c.ListenAddrs()
	p := where(t, open(t, addresses, `,"headers":{"from":"edge"},"spool":{"size":"2GiB"}`, t.TempDir()))
	n := all / 4
	shiptest.Ship(t, p, 0, n)
	shiptest.Until(t, "the first", delivered(p, 1))
	c.Close()
	shiptest.Ship(t, p, n, n)
	shiptest.Until(t, "an outage", isDown(p))
	shiptest.Ship(t, p, 2*n, n)
	cluster(t, stored, ports)
	shiptest.Ship(t, p, 3*n, n)
	shiptest.Delivered(t, p, 4*n)
	partition := map[string]int32{}
	again := consume(t, addresses, 4*n, func(r *kgo.Record) {
		if was, ok := partition[string(r.Key)]; ok && was != r.Partition {
			t.Errorf("%s is in partitions %d and %d", r.Key, was, r.Partition)
		}
		partition[string(r.Key)] = r.Partition
		if len(r.Headers) != 1 || r.Headers[0].Key != "from" || string(r.Headers[0].Value) != "edge" {
			t.Errorf("headers %v", r.Headers)
		}
	}).Check(t, 0, 4*n)
	if len(partition) != 10 || partition["key1"] == partition["key2"] && partition["key2"] == partition["key3"] && partition["key3"] == partition["key4"] {
		t.Errorf("partitions of keys: %v", partition)
	}
	if shiptest.Stat(p, "dropped") != 0 || shiptest.Stat(p, "rejected") != 0 {
		t.Errorf("%+v", p.Stats())
	}
	t.Logf("%d records, %d stored more than once, %v attempts", 4*n, again, shiptest.Stat(p, "attempts"))
	end(t, p)
}

// answer is the reply to a produce request that gives every partition a code, having stored nothing.
func answer(request kmsg.Request, code int16) kmsg.Response {
	reply := request.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range request.(*kmsg.ProduceRequest).Topics {
		said := kmsg.NewProduceResponseTopic()
		said.Topic, said.TopicID = topic.Topic, topic.TopicID
		for _, partition := range topic.Partitions {
			one := kmsg.NewProduceResponseTopicPartition()
			one.Partition, one.ErrorCode = partition.Partition, code
			said.Partitions = append(said.Partitions, one)
		}
		reply.Topics = append(reply.Topics, said)
	}
	return reply
}

// Whatever brokers do to what they are sent, it is an outage, nobody waits longer than the attempt may take, and everything
// arrives in order per key when they are well again.
func TestTroubles(t *testing.T) {
	for name, trouble := range map[string]func(c *kfake.Cluster, well <-chan struct{}, request kmsg.Request) (kmsg.Response, error){
		"cut": func(*kfake.Cluster, <-chan struct{}, kmsg.Request) (kmsg.Response, error) {
			return nil, errors.New("cut")
		},
		"hang": func(c *kfake.Cluster, well <-chan struct{}, _ kmsg.Request) (kmsg.Response, error) {
			c.SleepControl(func() { <-well })
			return nil, errors.New("woken")
		},
		"not enough replicas": func(_ *kfake.Cluster, _ <-chan struct{}, r kmsg.Request) (kmsg.Response, error) {
			return answer(r, kerr.NotEnoughReplicas.Code), nil
		},
		"not allowed": func(_ *kfake.Cluster, _ <-chan struct{}, r kmsg.Request) (kmsg.Response, error) {
			return answer(r, kerr.TopicAuthorizationFailed.Code), nil
		},
		"no such topic": func(_ *kfake.Cluster, _ <-chan struct{}, r kmsg.Request) (kmsg.Response, error) {
			return answer(r, kerr.UnknownTopicOrPartition.Code), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster(t)
			var ill atomic.Bool
			well := make(chan struct{})
			c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if !ill.Load() {
					return nil, nil, false
				}
				reply, err := trouble(c, well, r)
				return reply, err, true
			})
			p := open(t, c.ListenAddrs(), "", t.TempDir())
			const n = 1000
			shiptest.Ship(t, p, 0, n)
			shiptest.Until(t, "the first", delivered(p, 1))
			ill.Store(true)
			shiptest.Ship(t, p, n, n)
			shiptest.Until(t, "an outage", isDown(p))
			shiptest.Ship(t, p, 2*n, n)
			ill.Store(false)
			close(well)
			shiptest.Until(t, "all", delivered(p, 3*n))
			consume(t, c.ListenAddrs(), 3*n, ignore).Check(t, 0, 3*n)
			if shiptest.Stat(p, "dropped") != 0 || shiptest.Stat(p, "rejected") != 0 {
				t.Errorf("%+v", p.Stats())
			}
			end(t, p)
		})
	}
}

// One message that the broker will never take is dropped alone, however many it was sent with.
func TestRejected(t *testing.T) {
	t.Parallel()
	for _, code := range []*kerr.Error{kerr.MessageTooLarge, kerr.InvalidRecord} {
		t.Run(code.Message, func(t *testing.T) {
			c := cluster(t)
			c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				for _, topic := range r.(*kmsg.ProduceRequest).Topics {
					for _, partition := range topic.Partitions {
						if bytes.Contains(partition.Records, []byte(`"request_id":"42"`)) {
							return answer(r, code.Code), nil, true
						}
					}
				}
				return nil, nil, false
			})
			p := open(t, c.ListenAddrs(), `,"compression":"none"`, t.TempDir())
			shiptest.Ship(t, p, 0, 100)
			shiptest.Until(t, "an end", func() bool { return shiptest.Stat(p, "delivered")+shiptest.Stat(p, "rejected") == 100 })
			if got := shiptest.Stat(p, "rejected"); got != 1 {
				t.Errorf("%v rejected", got)
			}
			seen := consume(t, c.ListenAddrs(), 99, ignore)
			seen.Check(t, 0, 42)
			seen.Check(t, 43, 57)
			end(t, p)
		})
	}
}

// What is larger than brokers take is refused before it is sent, and holds nothing up; what is just below goes.
func TestSizes(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for _, test := range []struct{ more, want string }{
		{`,"max_size":"64KiB"`, "rejected"},
		{`,"max_size":"256KiB","batch":{"size":"16MiB","wait":"20ms"}`, "delivered"},
	} {
		p := open(t, c.ListenAddrs(), test.more, t.TempDir())
		batch := shiptest.Batch(0, 40)
		for i := range batch.Records {
			batch.Records[i].Error = strings.Repeat("x", 100<<10)
		}
		if err := p.Observers[0].Observer.Observe(t.Context(), batch); err != nil {
			t.Error(err)
		}
		shiptest.Until(t, "an end", func() bool { return shiptest.Stat(p, test.want) == 40 })
		end(t, p)
	}
}

// A gateway that stops while no broker is there keeps what it has, does not wait long, and the next one delivers it.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), shiptest.FreePort(t)
	addresses := []string{fmt.Sprintf("127.0.0.1:%d", port)}
	p := open(t, addresses, `,"retry":{"first":"20ms","timeout":"1m"}`, dir)
	shiptest.Ship(t, p, 0, 1000)
	begun := time.Now()
	end(t, p)
	if took := time.Since(begun); took > 10*time.Second { // 2 s, and what a busy machine adds
		t.Errorf("Close took %v", took)
	}
	cluster(t, kfake.NumBrokers(1), kfake.Ports(port))
	p = open(t, addresses, "", dir)
	shiptest.Until(t, "what was left", delivered(p, 1000))
	consume(t, addresses, 1000, ignore).Check(t, 0, 1000)
	end(t, p)
}

// Codecs, a key that spreads, SASL, and a topic that is made.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config string
		broker []kfake.Opt
		reader []kgo.Opt
	}{
		{config: `,"compression":"zstd","key":"{api}-{class}"`},
		{config: `,"compression":"gzip","key":""`},
		{config: `,"compression":"snappy"`},
	} {
		c := cluster(t, test.broker...)
		p := open(t, c.ListenAddrs(), test.config, t.TempDir())
		shiptest.Ship(t, p, 0, 200)
		shiptest.Until(t, "all", delivered(p, 200))
		consume(t, c.ListenAddrs(), 200, func(r *kgo.Record) {
			if strings.Contains(test.config, `"key":""`) && r.Key != nil || strings.Contains(test.config, "{api}") && string(r.Key) != "shop-2xx" {
				t.Errorf("key %q", r.Key)
			}
		}, test.reader...)
		end(t, p)
	}
}

func TestSASL(t *testing.T) {
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			c := cluster(t, kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "edge", "s3cret-pass"))
			more := `,"sasl":{"mechanism":"` + mechanism + `","user":"edge","password":"%s"}`
			wrong := open(t, c.ListenAddrs(), fmt.Sprintf(more, "wrong"), t.TempDir())
			shiptest.Ship(t, wrong, 0, 10)
			shiptest.Until(t, "a refusal", isDown(wrong))
			end(t, wrong)
			p := open(t, c.ListenAddrs(), fmt.Sprintf(more, "s3cret-pass"), t.TempDir())
			shiptest.Ship(t, p, 0, 10)
			shiptest.Until(t, "all", delivered(p, 10))
			end(t, p)
		})
	}
}

// The log says what is wrong, and not only that it took too long.
func TestWhy(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	addresses := c.ListenAddrs()
	c.Close()
	s, err := parse(json.RawMessage(fmt.Sprintf(`{"brokers":[%q],"retry":{"first":"1ms","timeout":"300ms"}}`, addresses[0])))
	if err != nil {
		t.Fatal(err)
	}
	options, err := s.options(nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newSink(options, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	n, err := k.Send(ctx, []ship.Item{{Key: []byte("k"), Body: []byte("{}")}})
	if n != 0 || err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%d, %v", n, err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{}`, "brokers"},
		{`{"brokers":["http://a:1"]}`, "no host:port"},
		{`{"brokers":["a:1"],"topic":"a b"}`, "no name of a topic"},
		{`{"brokers":["a:1"],"key":"{nope}"}`, "key"},
		{`{"brokers":["a:1"],"compression":"rar"}`, "compression"},
		{`{"brokers":["a:1"],"max_size":"1KiB"}`, "max_size"},
		{`{"brokers":["a:1"],"sasl":{"mechanism":"x","user":"u"}}`, "sasl.mechanism"},
		{`{"brokers":["a:1"],"sasl":{"mechanism":"plain"}}`, "belong together"},
		{`{"brokers":["a:1"],"tls":{"cert":"x"}}`, "belong together"},
		{`{"brokers":["a:1"],"tls":{"ca":"gone.pem"}}`, "gone.pem"},
		{`{"brokers":["a:1"],"headers":{"a":"` + strings.Repeat("x", 20<<10) + `"}}`, "headers"},
		{`{"brokers":["a:1"],"nope":1}`, "nope"},
	} {
		if _, err := New(t.Context(), json.RawMessage(test.config), sdk.Host{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.config, err, test.want)
		}
	}
}
