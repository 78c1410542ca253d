//go:build race

package gatewaytest

// raceFlag builds the gateway like the test itself: races in it are found, and what the tests have compiled is used.
const raceFlag = "-race"
