namespace Ingot.Drivers.Crypto;

/// <summary>What `info` tells of encryption, in the order of QEMU's tools.</summary>
internal static class EncryptionFacts
{
    /// <summary>The facts of a LUKS1 volume.</summary>
    /// <param name="header">Its header.</param>
    /// <param name="isDetached">Whether the payload lies elsewhere.</param>
    /// <param name="withFormat">Whether the format is named, where there are others.</param>
    /// <returns>Names and values.</returns>
    internal static IReadOnlyList<(string Key, object Value)> Describe(LuksHeader header, bool isDetached, bool withFormat)
    {
        List<(string, object)> facts =
        [
            ("ivgen-alg", header.Format.NumberingName),
            ("detached-header", isDetached),
            ("hash-alg", header.HashName),
            ("cipher-alg", header.CipherName),
            ("uuid", header.Uuid),
        ];
        if (header.Format.EssivHash is { } hash)
        {
            facts.Add(("ivgen-hash-alg", hash));
        }

        if (withFormat)
        {
            facts.Add(("format", "luks"));
        }

        facts.AddRange(
        [
            ("cipher-mode", header.Format.ModeName),
            ("slots", (IReadOnlyList<object>)[.. header.Slots.Select(Describe)]),
            ("payload-offset", header.PayloadOffset),
            ("master-key-iters", header.DigestIterations),
        ]);
        return facts;
    }

    private static IReadOnlyList<(string Key, object Value)> Describe(LuksSlot slot)
        => slot.IsActive
            ? [("active", true), ("iters", slot.Iterations), ("key-offset", slot.KeyOffset), ("stripes", slot.Stripes)]
            : [("active", false), ("key-offset", slot.KeyOffset)];
}
