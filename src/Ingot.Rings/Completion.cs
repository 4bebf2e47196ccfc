namespace Ingot.Rings;

/// <summary>The answer to a request, as the driver sees it.</summary>
/// <param name="Token">What the driver named the request.</param>
/// <param name="Status">0 for success.</param>
/// <param name="Length">Bytes that the device has written; null where the ring does not tell.</param>
public readonly record struct Completion(ushort Token, byte Status, uint? Length);
