package schemas

// The meters of R9; a Connect channel's is ConnectPrefix and the channel.
const (
	AgentStandard = "agent_standard"
	AgentPremium  = "agent_premium"
	IVRPort       = "ivr_port"
	ConnectPrefix = "connect."
)

// PooledMeters are those that subscriptions commit to, and pool (R14), in byte order.
var PooledMeters = []string{AgentPremium, AgentStandard, IVRPort}
