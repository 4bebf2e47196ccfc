using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Crypto;

/// <summary>Gives an unlocked volume more passwords, or takes some away.</summary>
internal static class LuksAmend
{
    private const int DefaultIterTime = 2000;

    internal static IReadOnlyList<(string Name, string Help)> Options { get; } =
    [
        ("iter-time", "Time to spend in PBKDF in milliseconds"),
        ("keyslot", "Select a single keyslot to modify explicitly"),
        ("new-secret", "New secret to set in the matching keyslots. Empty string to erase"),
        ("old-secret", "Select all keyslots that match this password"),
        ("state", "Select new state of affected keyslots (active/inactive)"),
    ];

    /// <summary>Changes the slots.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="key">Its master key.</param>
    /// <param name="secrets">The passwords by name.</param>
    /// <param name="options">state, new-secret, old-secret, keyslot, iter-time; taken.</param>
    /// <param name="force">Allows to overwrite a slot in use, and to lose the last password.</param>
    /// <returns>The header as it is now.</returns>
    internal static async IoTask<LuksHeader> RunAsync(LuksVolume volume, byte[] key, SecretTable secrets, OptionSet options, bool force)
    {
        string state = options.TakeString("state") ?? throw new OptionException("Parameter 'state' is missing");
        string? newSecret = options.TakeString("new-secret");
        string? oldSecret = options.TakeString("old-secret");
        int? slot = TakeSlot(options);
        long? iterTime = options.TakeNumber("iter-time", 0);
        LuksHeader header = await volume.ReadHeaderAsync();
        return state switch
        {
            "active" => await AddAsync(volume, header, key, Password(secrets, newSecret ?? throw new OptionException("'new-secret' is required to activate a keyslot")),
                oldSecret is null ? ChooseSlot(header, slot, force) : throw new OptionException("'old-secret' must not be given when activating keyslots"), iterTime),
            "inactive" when newSecret is not null => throw new OptionException("'new-secret' must not be given when erasing keyslots"),
            "inactive" when iterTime is not null => throw new OptionException("'iter-time' must not be given when erasing keyslots"),
            "inactive" => await EraseAsync(volume, header, oldSecret is null ? null : Password(secrets, oldSecret), slot, force),
            _ => throw new OptionException($"Parameter 'state' does not accept value '{state}'"),
        };
    }

    private static byte[] Password(SecretTable secrets, string id) => secrets.GetPassword(id);

    private static int? TakeSlot(OptionSet options)
        => options.TakeNumber("keyslot") is not { } slot ? null
            : slot is >= 0 and < LuksHeader.SlotCount ? (int)slot
            : throw new OptionException($"Invalid keyslot {slot} specified, must be between 0 and {LuksHeader.SlotCount - 1}");

    private static int ChooseSlot(LuksHeader header, int? wanted, bool force)
    {
        if (wanted is { } slot)
        {
            return !header.Slots[slot].IsActive || force ? slot : throw new OptionException($"Refusing to overwrite active keyslot {slot} - please erase it first");
        }

        int free = header.Slots.ToList().FindIndex(s => !s.IsActive);
        return free >= 0 ? free : throw new OptionException("Can't add a keyslot - all keyslots are in use");
    }

    private static async IoTask<LuksHeader> AddAsync(LuksVolume volume, LuksHeader header, byte[] key, byte[] password, int slot, long? iterTime)
    {
        // Until its new key material is complete, a slot that is overwritten opens nothing.
        if (header.Slots[slot].IsActive)
        {
            header = await volume.EraseSlotAsync(header, slot);
        }

        return await volume.FillSlotAsync(header, slot, key, password, iterTime ?? DefaultIterTime);
    }

    private static async IoTask<LuksHeader> EraseAsync(LuksVolume volume, LuksHeader header, byte[]? password, int? slot, bool force)
    {
        List<int> erased = slot is { } index ? [await CheckSlotAsync(volume, header, index, password, force)]
            : password is not null ? await FindSlotsAsync(volume, header, password, force)
            : throw new OptionException("To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given");
        foreach (int i in erased)
        {
            header = await volume.EraseSlotAsync(header, i);
        }

        return header;
    }

    private static async IoTask<int> CheckSlotAsync(LuksVolume volume, LuksHeader header, int slot, byte[]? password, bool force)
    {
        if (password is not null && await volume.TryUnlockAsync(header, slot, password) is null)
        {
            throw new ErrnoException(Errno.EINVAL, $"Given keyslot {slot} doesn't contain the given old password for erase operation");
        }

        bool isActive = header.Slots[slot].IsActive;
        return force ? slot
            : !isActive ? throw new OptionException($"Given keyslot {slot} is already erased (inactive) ")
            : header.Slots.Count(s => s.IsActive) == 1
                ? throw new OptionException($"Attempt to erase the only active keyslot {slot} which will erase all the data in the image irreversibly - refusing operation")
            : slot;
    }

    private static async IoTask<List<int>> FindSlotsAsync(LuksVolume volume, LuksHeader header, byte[] password, bool force)
    {
        var found = new List<int>();
        for (int i = 0; i < LuksHeader.SlotCount; i++)
        {
            if (await volume.TryUnlockAsync(header, i, password) is not null)
            {
                found.Add(i);
            }
        }

        return found.Count == 0 ? throw new OptionException("No keyslots match given (old) password for erase operation")
            : found.Count == header.Slots.Count(s => s.IsActive) && !force
                ? throw new OptionException("All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation")
            : found;
    }
}
