namespace Ingot.Drivers.Crypto;

/// <summary>One of the eight places for a password.</summary>
/// <param name="IsActive">Whether a password opens it.</param>
/// <param name="Iterations">PBKDF2's iterations.</param>
/// <param name="Salt">PBKDF2's salt.</param>
/// <param name="KeyOffset">Where the split master key lies, in bytes from the start of the header.</param>
/// <param name="Stripes">How many parts the master key is split in.</param>
internal sealed record LuksSlot(bool IsActive, int Iterations, byte[] Salt, long KeyOffset, int Stripes);
