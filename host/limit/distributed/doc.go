// Package distributed judges requests in the memory of several gateways, which tell each other over Redis what they let pass.
// A request costs no round trip.
//
// # Rates
//
// Every Options.Beat, 200 ms, a gateway publishes one message: that it is there, and for each bucket in use how many
// requests it has let pass so far, how many it is asked for, and how full it believes the bucket to be. From what it hears it
// keeps, of each bucket, the level of all gateways together, and its own part: a bucket of a share of the rate and of the
// room that is left. The share is in proportion to the demand at each gateway; of what nobody demands, and at least of a
// twentieth of the rate, all have equal parts, so that a caller who comes to another gateway finds something. What one
// gateway leaves unused the level shows, and the others use it. Once traffic has kept its distribution for 2 s,
// the sum over all gateways is within 10 % of the limit.
//
// Before that, each gateway goes by what it last heard: a bucket that nobody has told of yet begins with an equal share, which
// holds for a beat and a half, until all had time to tell, so that a caller who turns up at all gateways at once gets its
// burst, and one who turns up at a single one gets a part of it until then. A gateway that begins says so at once, and hears the levels with the first messages; until then it can give out
// its equal share of a burst once more. One that ends says so; one that dies is missed after 5 beats, and its share is
// free before that, as what it leaves unused.
//
// Limits below 10 × the number of gateways cannot be divided. They are judged by package exact, a round trip each, and so is
// a limit that becomes small because gateways join, with a bucket that is full anew.
//
// # Quotas
//
// Quotas are counted in memory and added in Redis at each beat, which tells the total. As long as more remains than a reserve,
// twice what all gateways used in a recent beat and at least 10 for each, a request costs no round trip; the last ones, and
// the first after a second without any, are judged by package exact. So a quota is overshot only when the traffic of
// all gateways more than doubles within one beat, and then by no more than what they let pass in that beat. A gateway that is
// killed loses the counts of its last beat.
//
// # When Redis is away
//
// A gateway that has not heard its own message for 3 beats takes Redis to be away and goes on from memory: with the share
// and the number of gateways it knew last; with an equal share of what is new, small limits included (at least one
// request at a time); and with an equal share of what remained of each quota. When it hears itself again it takes the level
// that others tell, adds to quotas what passed meanwhile, and gives the others 5 beats to be heard.
package distributed
