package wire

var kindNames = [...]string{
	KindRequest: "request", KindReply: "reply", KindError: "error",
	KindEvent: "event", KindStreamItem: "stream item", KindCredit: "credit",
	KindCancel: "cancel", KindControl: "control",
}

var channelNames = [...]string{
	ChannelApplication: "application", ChannelConsensus: "consensus",
	ChannelOperations: "operations", ChannelDiscovery: "discovery",
}

// String returns the kind in words, or "kind N" for one that does not exist.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "kind " + digits(uint8(k))
}

// String returns the channel in words, or "channel N" for one that does not
// exist.
func (c Channel) String() string {
	if int(c) < len(channelNames) {
		return channelNames[c]
	}
	return "channel " + digits(uint8(c))
}

// digits writes n in decimal. strconv would be the package's only dependency
// beyond encoding/binary and errors.
func digits(n uint8) string {
	d := [3]byte{'0' + n/100, '0' + n/10%10, '0' + n%10}
	i := 0
	for i < 2 && d[i] == '0' {
		i++
	}
	return string(d[i:])
}
