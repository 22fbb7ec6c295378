-- Names for the numbers that the other files calculate with. daily.sql draws how an event is packed.
    86400000 AS DAY_MS,
    79200000 AS SHORTEST_DAY_MS, -- no date of any zone has fewer than 22 hours

    -- Meters are numbers (R9): Connect channels are numbered from CONNECT on, and NO_METER is what counts for nothing.
    0 AS NO_METER,
    1 AS AGENT_STANDARD,
    2 AS AGENT_PREMIUM,
    3 AS IVR_PORT,
    4 AS CONNECT,

    -- What is to be said of an event is a sum of flags.
    1 AS SUPERSEDED,
    2 AS VOIDED,
    4 AS UNALLOCATED,
    8 AS UNKNOWN_TENANT,
    16 AS UNMAPPED,
    32 AS OPEN_SESSION,
    64 AS UNKNOWN_SUBSCRIPTION,
    128 AS CONFLICT,
    256 AS NOTED,  -- any of these is set, or it is not one delivery
    512 AS STARTS, -- the event starts on this day
    (flags, flag) -> bitAnd(flags, flag) != 0 AS has_flag,

    -- A number of 128 bits for a string, since joining and grouping by strings is slow. That two of a hundred million
    -- differ and share one has a chance of one in 10^22; so it has when the number of a tenant is added, to distinguish
    -- the same name in two. Hashing several strings into one number takes three times as long.
    text -> reinterpretAsUInt128(sipHash128(text)) AS hash_of
